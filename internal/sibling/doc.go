// Package sibling is what the nodes of a region tell each other beside the log:
// messages that are in no log, for devices and links of another node; that an
// owner has given up a session; and that an index of the log is applied.
//
// Each node dials one stream to every other and uses it for what it has to say;
// it answers on those the others dialled.
//
// # Yield
//
// A device that comes to another node takes its session along, by an Attach in the
// log. The former owner may not have applied that yet, and still be sending. So
// the new one answers nothing before the former owner surely sends no more:
//
//   - it said so;
//   - its process is gone: its address refuses connections, or another run of
//     the node answers there;
//   - or Lapse has passed since the Attach was applied here. An owner sends only
//     while it is fresh, which is 300 ms after it asked; the leader that answered
//     had heard its majority 300 ms before at most; and a leader whose disk hangs
//     falls silent after 300 ms. A later leader's word includes the Attach.
//
// # Messages
//
// They go at most once, in order, through a bounded queue a node; what does not
// fit is dropped and counted.
//
// What it is not: it decides nothing about sessions, and knows no socket but its
// streams. Who owns what: a Siblings owns the streams it dialled.
package sibling
