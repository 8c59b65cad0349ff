// Package simlab runs several regions in one process on a virtual clock
// (testing/synctest): each is one or several whole nodes (internal/app) with the
// real raft, QUIC and Pebble, on networks and disks that can fail. Devices speak
// MQTT to them through pipes, and keep what MQTT asks a client to keep. In front
// of a region of several nodes is a load balancer, so that a device whose node
// died goes on at another.
//
// A Lab lives in one bubble: make it there, and Stop it before the bubble ends,
// so that no goroutine is left. Nothing in it may use a real socket or a real
// disk, for which the virtual clock does not wait.
//
// The network takes time, the disk takes none, but for the entries of a log that
// is slow or hangs (disk.Slow, disk.Hang): who sleeps elsewhere may hold a mutex,
// and the virtual clock does not move while somebody waits for a mutex. A test
// that runs into its time-out with a goroutine in sync.Mutex.Lock has found one.
//
// A crash of a node is kill -9 and loss of power in one: first nobody hears it
// any more, then its disk is what was synced by then, then the old life is ended
// out of everybody's sight. It may come between two steps of a write
// (Node.CrashAtOp), which a clock that only moves while all goroutines wait would
// never hit. When the whole machine goes (Node.Vanish), nobody is told either:
// connections stay half-open until their other ends give up. A disk may be lost
// altogether (Region.Wipe); another one only when its place was taken, since two
// of three are more than is promised.
//
// The checker (Lab.Check) knows only what devices sent, were told and saw:
//
//   - Every message acknowledged to its publisher reaches every subscriber that
//     was settled before: at least once at QoS 1, once at QoS 2, first copies in
//     order; and a member of each group, at QoS 2 one.
//   - No session is forgotten.
//   - A connection that a device left behind (Device.Roam) is sent nothing more
//     once the device was answered on another, and is closed.
//   - A will comes once if its connection broke, and not if the session was
//     resumed within the delay.
//   - After the faults, what is retained is the newest of each publisher, at every
//     node.
//
// Clocks on walls are no part of the lab's: each machine has one that may be set wrong by
// days and run fast or slow (wall), and what a node counts runs at its speed.
//
// One thing beside: when all is quiet the copies of a home are equal.
//
// A seed replays the schedule of faults, not the exact run: goroutines, TLS and
// QUIC draw their own lots. Package internal/sim, over the pure home, replays
// exactly, and runs thousands of schedules where this one runs tens.
//
// Who owns what: a Lab owns the Network between its Regions; a Region owns the
// one between its Nodes, and its balancer; a Node owns its disk and its lives; a
// Device belongs to the lab and reconnects by itself until the lab stops.
package simlab
