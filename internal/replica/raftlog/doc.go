// Package raftlog keeps the raft log of one home on disk: entries, term and vote, and snapshots.
//
// What it is:
//
//   - Log, a raft.LogStore and raft.StableStore on hashicorp/raft-wal, with its segments and its meta
//     file on a store.FS.
//   - SnapshotStore, a raft.SnapshotStore on a store.FS. A home's snapshot is a small manifest, since
//     its state lives in the store; a body of any size streams through all the same.
//   - Watchdog, which times the log's writes, says when one hangs, and tells the process to end when
//     one fails.
//   - HCLog, the logger that raft and raft-wal ask for, on slog.
//
// What it is not: it knows no home and no entry format, holds no state machine, opens no socket. With
// internal/replica it is the only importer of raft; of raft-wal it is the only one.
//
// Who owns what: a Log owns its folder, a SnapshotStore its own. The data directory's lock
// (store.OpenDir) keeps a second process away. Raft's main loop is the one writer; readers are many.
//
// # What a returned write means
//
// When StoreLogs, Set or SetUint64 returned nil, the data survives power loss: the segment and, for a
// new one, its name are synced; the meta file is replaced by temporary file, sync, rename and
// directory sync. When one failed, everything that follows fails with the same error, also when the
// disk works again: after a failed fsync the kernel may report success over pages it has dropped.
//
// Open makes durable what it is about to answer for. A batch or vote that a killed process wrote but
// did not sync is in the page cache and reads back well; raft would count it as held, and power loss
// would take it. So the last batch is written again, and the tail segment and the directory are synced,
// before the log is used. (Written again, since a failed sync leaves pages that the next one skips.)
//
// # What Open adds to raft-wal v0.4.2
//
// Found by reading it and by the crash tests here; each has a test named after it.
//
//   - A segment is sealed by its last append and recorded as sealed by a goroutine later. A crash
//     between leaves a log that refuses every append (ErrSealed), for good. Open finishes the
//     rotation.
//   - Recovery takes an index frame as a seal even when the batch it came in was torn and dropped:
//     the same refusal. Open clears torn batches before raft-wal looks.
//   - Recovery checks the last batch's checksum only, and takes frames behind it as proof that it is
//     whole. What a torn batch left behind a shorter later one can make a second torn batch look
//     acknowledged. Open checks every batch of the tail segment, overwrites what follows the last
//     whole one with zeros, and syncs that before anything else is written.
//   - A torn batch is dropped: it was never acknowledged. A batch that fails its checksum with a whole
//     one behind it was acknowledged, so the disk has lost data, and Open refuses with ErrDamaged: a
//     voter that answers with a hole in its log is a wiped voter [B1].
//   - Its file system syncs the directory for a file it created, but not for one it reopened after a
//     kill before the first sync; ours does.
//   - A lost meta file makes it delete all segments as leftovers. Open refuses instead.
//
// Not covered: damage inside a sealed segment is found only with Options.VerifySealed, or when an
// entry no longer decodes; raft-wal stores no checksum per entry. Damage in the very last batch, or in
// the type of the commit frame before it, looks like a torn write, and is dropped with a warning.
//
// # Disk layout
//
//	meta                          segments and stable values; see meta.go
//	<first index>-<id>.wal        segments, in raft-wal's format version 0
//	snapshots/<term>-<index>-<n>/ meta.json and state.bin
package raftlog
