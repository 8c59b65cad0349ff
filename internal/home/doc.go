// Package home is the deterministic state machine of a home.
//
// A home is a set of sessions with their subscriptions, queues, retained
// messages, peer interest and spools, inbound cursors, limits and policies. It
// is one log: everything that matters is an operation in an entry, and matching
// happens only in Apply. The package is pure: no clock, no disk, no network, no
// randomness, no goroutine. The same records give the same state on every
// replica, and a test replays them from a seed.
//
// Who owns what: one caller (the replica) applies records, in log order. Any
// goroutine may query; State locks itself. A Sink hears what an applied record
// means for connections and links; it is called with the state locked and must
// neither block nor call back.
//
// What it is not: it does not decide who leads, when to sync a disk, or which
// connection may speak for a session; it only checks that an operation carries
// the session's current epoch.
package home
