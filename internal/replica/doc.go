// Package replica runs one home as a log on raft: it batches what is proposed,
// commits it, applies it to the home's state machine and keeps that state on
// disk.
//
// One Replica is one home on one node: the only copy, one of a group's, or none. The
// batcher hands numbered entries to
// whoever leads; a proposal is completed by this node's own apply and never by
// raft's answer, and an entry that was not applied is sent again with the same
// number when leadership changed. [A2]
//
// Where the log comes from is the node's role. A core keeps a copy on its disk and
// votes (core.go, and all that is about raft). A replicant has neither and follows
// a core: a copy of its state, then its records as they are applied there
// (replicant.go, follow.go; feed.go is the core's end). Queue, batcher, forwarder,
// apply, freshness, clock and digests are the same for both.
//
//	Propose -> queue -> batcher -> stamp, encode -> raft log (fsync) -> apply -> done
//	                                                                      |
//	                core:    store <- flush, about every second <---------+
//
// # What is promised
//
// A proposal whose done was called with a nil error is on the disk's log,
// synced, and applied. done is called once, in the order of Propose, and never
// with nil after the replica failed. An error means unknown: the operation may
// be found applied after the next start.
//
// # Disk
//
// The raft log is the write-ahead log of the state. The state is written behind,
// about once a second, with the index applied in the same batch; what was not
// flushed is applied again at the next start. A raft snapshot is a marker
// without data: before it exists the store has flushed that index, so raft may
// drop the log below it [B2]. The folder holds state/ (internal/store), log/ and
// snapshots/ (raftlog); see install.go for the rest.
//
// Open checks that they belong together. What a single copy has lost is an error.
// A group's copy brings another state from the leader (fetch.go) if its own is
// damaged or behind the log. If the log lost what others were told it holds, its
// votes must not count any more: Open waits until the others have a leader, and
// returns ErrLost, upon which the caller sets the copy aside. [B1]
//
// # Failing
//
// The first failed write or sync, a record this build does not know, or a
// corrupt one stops the home: Ready says why, OnFatal is told, every waiting
// proposal gets the error, and nothing is written or acknowledged after it. The
// process or its supervisor opens the home again.
//
// # Who owns what
//
// The replica owns its folder, its store, its log and its state; others only
// query the state. Goroutines: raft's own, of which one applies and calls done;
// and those of Run: the batcher, the keeper (flushes, snapshots) and the ticker.
// All end with Run.
//
// What it is not: it knows no sockets, for its streams to other nodes come from
// a Cluster, and does not decide who may speak for a session; the home does.
package replica
