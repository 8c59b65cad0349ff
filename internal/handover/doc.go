// Package handover moves sessions of roaming devices between homes, and keeps homes
// informed of whose sessions others have (ADR 34).
//
// All that matters is in the logs of the two homes (internal/home: Adopt, Move,
// Directory); what is here asks, answers, and may forget. A Taker works at the home that a
// device came to, a Giver answers at the home that has the session, a Keeper finds out there
// what became of a session that was given away, a Follower keeps a peer's directory, a Judge
// decides which of two sessions of a device counts. Each runs at the node that leads its home.
// A Finder asks for a session before one is created, at any node. After a crash, or with two
// of them at work, they go on from the logs: every question may be asked twice, and be
// answered after its asker is gone.
//
// What it is not: it opens no connection and knows no region's address. The app brings
// questions to where a home is served, and says who may ask.
package handover
