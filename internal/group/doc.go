// Package group is how the links run goroutines that end together, wait and try again. It knows nothing of what they do.
package group
