// Package sibling is what the nodes of a region tell each other beside the log:
// messages that are in no log, for devices and links of another node; that an
// owner has given up a session; and that an index of the log is applied.
//
// Each node dials one stream to every other and uses it for what it has to say;
// it answers on those the others dialled. DESIGN.md has the frames and the bounds.
//
// # Yield
//
// A device that comes to another node takes its session along, by an Attach in the
// log. The former owner may not have applied that yet, and still be sending. So
// the new one answers nothing before the former owner surely sends no more:
//
//   - it said so, or a later run at its address did;
//   - its process is gone: a dial that began after the question found that nobody
//     listens at its address;
//   - or Lapse has passed, by this node's monotonic clock, since the question, and
//     so since the Attach was applied here.
//
// # Lapse
//
// A node sends and answers for its sessions only while it is fresh: it has applied
// a commit index that it heard in answer to a question asked at most 300 ms ago.
// Say the Attach is committed at T. An answer given by a leader that knows of it
// names an index that includes it; who applies that has given up the session. An
// answer without it comes from a leader whose office has ended without its
// knowledge. Such a one answers only for as long as it is sure: it heard its
// majority at most 300 ms before, and a leader whose own disk hangs falls silent
// after 300 ms. So no such answer is given after T + 600 ms, nor was its question
// asked later, and what it allows ends at T + 900 ms. The rest of the second is for
// clocks that run differently fast.
//
// The same holds for Known: a sibling that has not said that it applied an index
// is not fresh any more a second later, unless it has.
//
// # Messages
//
// They go at most once, in order, through a bounded queue a node. Without a
// stream, or when the queue is full, they are dropped and counted.
//
// What it is not: it decides nothing about sessions, and knows no socket but its
// streams. Gossip tells it whom to dial, and never that somebody is dead. Who owns
// what: a Siblings owns the streams it dialled, and ends those it accepted when
// Run returns.
package sibling
