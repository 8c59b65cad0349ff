// Package group is how parts of a node run goroutines that end together, turn a panic into an error, wait and try again. It knows
// nothing of what they do.
package group
