//go:build causeway_older

package home

// MaxLevel of a build that stands for the one before this, in tests of upgrades.
const MaxLevel = 2
