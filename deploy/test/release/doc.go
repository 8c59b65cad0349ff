// Package release tests what is handed to operators: units, Debian package, container file, and that a release is the same
// bytes wherever it is built. `make deploy` runs it; nothing imports it.
package release
