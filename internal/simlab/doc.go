// Package simlab runs several regions in one process on a virtual clock
// (testing/synctest): each is a whole node (internal/app) with the real raft,
// QUIC and Pebble, on a network and a disk that can fail. Devices speak MQTT to
// it through pipes, and keep what MQTT asks a client to keep.
//
// A Lab lives in one bubble: make it there, and Stop it before the bubble ends,
// so that no goroutine is left. Nothing in it may use a real socket or a real
// disk, for which the virtual clock does not wait.
//
// The network takes time, the disk takes none: who sleeps in it holds a lock, and
// the virtual clock does not move while somebody waits for a lock.
//
// A crash of a region is kill -9 and loss of power in one: first nobody hears
// it any more, then its disk is what was synced by then, then the old life is
// ended out of everybody's sight. It may come between two steps of a write
// (Region.CrashAtOp), which a clock that only moves while all goroutines wait
// would never hit.
//
// The checker (Lab.Check) knows only what devices sent, were told and saw. Every
// message acknowledged to its publisher reaches every subscriber that was
// settled before: at least once at QoS 1, once at QoS 2, first copies in order;
// and no session is forgotten.
//
// A seed replays the schedule of faults, not the exact run: goroutines, TLS and
// QUIC draw their own lots. Package internal/sim, over the pure home, replays
// exactly, and runs thousands of schedules where this one runs tens.
//
// Who owns what: a Lab owns its Network and its Regions; a Region owns its disk
// and the lives of its node; a Device belongs to the lab too and reconnects by
// itself until the lab stops.
package simlab
