// Package sim runs whole regions in one goroutine, on a clock of its own, from
// a seed. The homes are the real state machine (internal/home); the log, the
// disk, the network, the edge, the link and the devices are models that are
// small enough to read. A seed replays exactly: the same events, in the same
// order, to the same end.
//
// What it is for: thousands of schedules of crashes, cuts, duplicates and
// delays in seconds. internal/simlab runs the real raft, QUIC and Pebble, a few
// schedules at a time.
//
// The checker knows only what devices sent and saw. Every message that was
// acknowledged to its publisher must reach every subscriber: at least once at
// QoS 1, once at QoS 2, first copies in order; also one that was subscribed only
// from time to time, for as long as it was. A member of each region's shared
// subscription must get it, at QoS 2 one member once, whoever came and went. The
// will of a connection that ended comes once. In the end all regions retain the
// same, and what was written last. Home time runs 10,000 times as fast as the
// wires, so that what is remembered for a day is forgotten within a run.
//
// Fault plants a mistake that the real system must not make; a test shows that
// the checker notices each of them.
package sim
