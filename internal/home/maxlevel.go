//go:build !causeway_older

package home

// MaxLevel is the highest feature level that this build supports. A home is founded at it, or
// at what all nodes of its region support; later it is raised by an operator only, who says with it
// that no node goes back to an older build.
//
//	1  the first
//	2  copies of the home in other regions: operations from KindPromote on
//	3  documents, and all other operations from KindAdopt on
const MaxLevel = 3
