// Package link connects this region with its peers.
//
// A tunnel is one connection to a peer region, mutually authenticated; either
// side may dial, and one survives. In it run a control stream, one stream per
// class of the spool, one for messages that are in no log, and one on which each
// side tells what it wants. docs/wire-link.md has the bytes, DESIGN.md here the
// rules.
//
// Who owns what: the home owns everything that must survive: spools, cursors,
// interest. The link owns nothing but connections and counters. It reads the
// home's state and proposes operations; after a crash it asks the other side
// where it stands and goes on from there. A Manager owns the socket and runs one
// peer for each configured region; a peer owns at most one tunnel at a time; a
// tunnel owns the goroutines of its streams. One peer's trouble reaches no other.
//
// What it is not: it does not match topics, decide what is spooled, or keep
// messages. What came by a link goes to no other one: a frame must be of the home at
// the other end of the tunnel, and Forward refuses the rest. What a region relays are
// tunnels of others, as bytes. It knows quic-go and
// yamux in one file each; the rest runs over any transport with streams.
package link
