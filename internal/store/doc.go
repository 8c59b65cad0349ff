// Package store keeps one home's state on disk, and owns the data directory it lives in.
//
// What it is:
//
//   - FS, the file system seam. Everything durable in a node (this package, the raft log, snapshots)
//     writes through it. DiskFS is the real one; CrashFS is a disk that forgets what was not synced,
//     fails on request, and can be told to ignore syncs, so that a test shows that removing a sync
//     loses data.
//   - Dir, the data directory: FORMAT (who it belongs to), an exclusive lock, and the incarnation
//     counter of the node.
//   - Store, keys and values on Pebble with the applied index in the same batch.
//
// What it is not: it is not a log. The raft log is the write-ahead log, so Pebble's own is off and a
// commit is not synced; a crash takes the store back to the last flush, never to a torn middle, and
// Applied says how far that is. What follows is applied again from the raft log. For that the log may
// drop only what DurableApplied covers [B2].
//
// Who owns what: Dir owns the directory and its lock, one per process. A Store owns its folder; its
// writer is the home's apply goroutine, readers may be many. Pebble's types do not leave this
// package, except through FS and File, which are Pebble's vfs because Pebble needs them.
//
// # When the disk fails
//
// The first failed write or sync, or damage found in a table, is the last thing a Store does: it
// keeps the error, refuses every later call with it and tells Options.OnFatal. After a failed fsync
// the kernel may have thrown the pages away and report success next time, so going on would promise
// what is not there. The process ends, and the next start reads what the disk really has.
//
// # What CrashFS models, and what it does not
//
//   - A file's content survives as of its last Sync, a directory entry as of the last Sync of its
//     directory. Rename and Remove are undone by a crash until the directory is synced. A real
//     journalling file system often keeps more; it promises no more.
//   - CrashKeeping keeps some unsynced 4 KiB blocks and entries, seeded: torn batches, files whose
//     tail arrived without the head. It does not tear inside a block, reorder two syncs, or damage
//     what was synced; tests flip those bits themselves.
//   - Opened files go on writing to the old disk after Crash. Close what ran on it, then look at the
//     copy only.
//   - A Sync copies the whole file in memory, so keep files small (segments of 1-4 MiB).
//   - Preallocation does nothing and file locks do not survive Crash.
//   - A seed replays a single-threaded workload exactly. With Pebble's background work beside it the
//     order of operations, and so what an operation number hits, varies from run to run.
//
// # In a synctest bubble
//
// Store on CrashFS runs inside testing/synctest: its goroutines block on channels and condition
// variables only, and end in Close, before the bubble does. Time spent in flushes is zero there,
// because the bubble's clock stands still while anything runs. DiskFS must stay outside: a goroutine
// in a system call is not durably blocked, so the bubble's clock would not advance.
package store
