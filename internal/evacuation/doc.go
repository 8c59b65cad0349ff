// Package evacuation decides how the devices of a node are sent elsewhere: all of them, so that the node can be stopped
// or replaced (Run), or what it has too many of, so that the nodes of a region have equally many (Balance).
//
// It is pure: what was decided, what is seen and what time it is go in; what comes next comes out. Who calls it keeps a
// Run in a document of the home, so that it goes on after a crash where it was, and does what its state asks for: says
// to load balancers that the node is evacuating, turns new connections away, closes those there are at the run's pace.
//
// What it is not: it closes nothing and writes nothing. Sessions are in the home, on a majority of disks, and are not
// moved (docs/adr/0037-evacuating-a-node.md).
package evacuation
