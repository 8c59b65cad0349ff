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
// QoS 1, once at QoS 2, first copies in order.
//
// Fault plants a mistake that the real system must not make; a test shows that
// the checker notices each of them.
package sim
