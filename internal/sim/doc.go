// Package sim runs whole regions, of one node or several, in one goroutine, on a
// clock of its own, from a seed. The homes are the real state machine
// (internal/home); the log, the disks, the network, the edge, the links and the
// devices are models that are small enough to read. A seed replays exactly: the
// same events, in the same order, to the same end.
//
// What it is for: thousands of schedules of crashes, cuts, duplicates and delays
// in seconds. internal/simlab runs the real raft, QUIC and Pebble, a few schedules
// at a time; internal/replica the real log, without devices.
//
// # The model
//
//	device ── load balancer ──▶ conn (edge.go)      keeps what MQTT asks of a client (device.go)
//	                              │ propose
//	                            queue               entries (run, n), sent again until applied (queue.go)
//	                              │ one way, by streams that break or are slow
//	                            office              the leader's: merges, appends, counts disks (log.go)
//	                              │ batches          steward.go: group, votes of disks, NodeDown
//	                            wal, disk           synced or not; a crash, or the loss of it (disk.go)
//	                              │ committed
//	                            home.State          on every node (node.go)
//
// The log keeps every hazard of the one in internal/replica: terms, votes that
// belong to disks, a majority of synced disks, followers that lag or fetch the
// state, proposals that are lost with a leader, sent twice, overtaken. Only an
// election is one step (vote.go). Beside the log: freshness by question (fresh.go),
// a former owner that yields and SUBACK that waits for siblings (sibling.go), home
// time by the leader (clock.go). Links run between the nodes that lead, and for a
// moment between those that led (link.go).
//
// # The checker
//
// It knows only what devices sent and saw. Every message that was acknowledged to
// its publisher must reach every subscriber: at least once at QoS 1, once at QoS 2,
// first copies in order; also one that was subscribed only from time to time, for
// as long as it was. A member of each shared subscription of a region must get it,
// at QoS 2 one member once, whoever came, went or died. The will of a connection
// that ended comes once, also when its node died with it and the device never comes
// back. A session is there when its device returns. Of two connections of one
// client id the older is silent once the newer was answered. In the end all regions
// retain the same, and what was written last. Beside that all copies of a home must
// be back, and equal.
//
// In half of the runs home time is 10,000 times as fast as the wires, so that what
// is remembered for a day is forgotten within a run; in some the packet ids of all
// sessions are about to begin again.
//
// Fault plants a mistake that the real system must not make (plant.go); a test shows
// that what devices saw is enough to notice each of them.
package sim
