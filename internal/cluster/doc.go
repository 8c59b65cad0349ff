// Package cluster connects the nodes of a region: it knows who is here, and gives
// authenticated byte streams between two nodes.
//
// Who is here is gossip (memberlist, encrypted with the region's key): hints that
// say where to dial. It judges nobody; who is dead is decided by the home's
// leader, by what it heard itself.
//
// A stream is TCP with mutual TLS on one port a node, the protocol chosen by ALPN.
// Both sides begin with a hello that says which run of which node on which disk
// they are; a dialler may ask for a disk, and a node with another one refuses. So
// a request that is meant for a disk that voted never reaches the empty one that
// took its place. [B1]
//
// What it is not: it moves opaque bytes, and imports nothing of what is above it.
//
// Who owns what: a Cluster owns its two ports and its gossip. Whoever gets a
// Stream closes it; a handler's stream is closed when the handler returns.
package cluster
