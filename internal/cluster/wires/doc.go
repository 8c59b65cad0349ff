// Package wires is a network in memory for many nodes in one process: streams and
// gossip between them, with latency, cuts in one or both directions, and nodes
// that die. It works on a synctest bubble's clock and in real time.
//
// A cut holds bytes back, as a network without a route does: they arrive when it
// heals, if the connection still lives. The death of a node resets its
// connections, and refuses new ones, as a killed process does. Of the death of a
// node that was cut off the other ends hear when the network heals, or after five
// seconds.
//
// It is for tests; nothing of it runs in a node.
package wires
