// Package arch holds the test that keeps the architecture: which package may
// import which, and why not. It has no code of its own.
package arch
