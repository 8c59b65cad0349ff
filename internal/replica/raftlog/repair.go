package raftlog

import (
	"fmt"
	"log/slog"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"causeway/internal/store"
)

// repair brings the folder of a log into the state that raft-wal expects to find, and syncs what it
// is going to answer for. The package comment lists why. It may be cut short and begun again.
type repair struct {
	fs           store.FS
	dir          string
	meta         *metaStore
	segmentBytes int
	log          *slog.Logger
}

func (r repair) run(verifySealed bool) error {
	found, err := r.meta.load()
	if err != nil {
		return err
	}
	if !found {
		return r.checkEmpty()
	}
	state := r.meta.state()
	for i, info := range state.Segments {
		sealed := !info.SealTime.IsZero()
		switch {
		case !sealed && i < len(state.Segments)-1:
			return fmt.Errorf("%w: segment %s is open but not the last", ErrDamaged, segment.FileName(info))
		case !sealed:
			if err := r.tail(state); err != nil {
				return fmt.Errorf("segment %s: %w", segment.FileName(info), err)
			}
		case verifySealed:
			if err := r.verify(info); err != nil {
				return fmt.Errorf("segment %s: %w", segment.FileName(info), err)
			}
		}
	}
	return nil
}

// checkEmpty makes sure that a log without a meta file has no segments: the meta file is durable
// before the first segment exists, and raft-wal would delete segments it does not know.
func (r repair) checkEmpty() error {
	names, err := walFS{fs: r.fs}.ListDir(r.dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: there are %d segments but no meta file", ErrDamaged, len(names))
	}
	return nil
}

// tail checks the segment being appended to, clears a torn batch, and finishes its rotation if it
// was sealed.
func (r repair) tail(state types.PersistentState) error {
	info := state.Segments[len(state.Segments)-1]
	path := r.fs.PathJoin(r.dir, segment.FileName(info))
	f, err := store.OpenExisting(r.fs, path)
	if store.IsNotExist(err) {
		return nil // recorded, but not created yet or never synced; raft-wal creates it
	}
	if err != nil {
		return err
	}
	scan, err := r.clear(f, info)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil || scan.indexStart == 0 {
		return err
	}
	return r.finishRotation(state, scan)
}

// clear writes zeros over what follows the last whole batch, writes that batch again and syncs the
// file. That makes durable what a former process had written and not synced; a sync alone would not
// when its own had failed, since the kernel counts those pages as written, whatever the disk holds.
func (r repair) clear(f store.File, info types.SegmentInfo) (segmentScan, error) {
	st, err := f.Stat()
	if err != nil {
		return segmentScan{}, err
	}
	scan, err := scanSegment(f, st.Size(), info)
	if err != nil {
		return scan, err
	}
	cleared, err := zero(f, scan.end, st.Size())
	if err != nil {
		return scan, err
	}
	if cleared > 0 {
		r.log.Warn("dropped an unfinished write that was never acknowledged", "segment", segment.FileName(info),
			"after_index", info.BaseIndex+scan.entries-1, "blocks", cleared)
	}
	if err := rewrite(f, scan.begin, scan.end); err != nil {
		return scan, err
	}
	return scan, f.Sync()
}

// rewrite writes what is in [from, to) again.
func rewrite(f store.File, from, to int64) error {
	buf := make([]byte, min(to-from, 256<<10))
	for off := from; off < to; off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), to-off)]
		if _, err := f.ReadAt(p, off); err != nil {
			return err
		}
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
	}
	return nil
}

// zero overwrites with zeros the blocks of [from, to) that are not zero, and says how many were.
func zero(f store.File, from, to int64) (blocks int, err error) {
	const block = 64 << 10
	buf := make([]byte, block)
	for off := from; off < to; off += block {
		p := buf[:min(block, to-off)]
		if _, err := f.ReadAt(p, off); err != nil {
			return blocks, err
		}
		dirty := false
		for i := range p {
			dirty = dirty || p[i] != 0
			p[i] = 0
		}
		if !dirty {
			continue
		}
		blocks++
		if _, err := f.WriteAt(p, off); err != nil {
			return blocks, err
		}
	}
	return blocks, nil
}

// finishRotation records a sealed tail as sealed, and its successor. raft-wal creates the
// successor's file when it finds none.
func (r repair) finishRotation(state types.PersistentState, scan segmentScan) error {
	now := time.Now()
	tail := &state.Segments[len(state.Segments)-1]
	tail.SealTime = now
	tail.IndexStart = uint64(scan.indexStart)
	tail.MaxIndex = tail.BaseIndex + scan.entries - 1
	next := types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: tail.MaxIndex + 1, MinIndex: tail.MaxIndex + 1,
		SizeLimit: uint32(r.segmentBytes), Codec: wal.CodecBinaryV1, CreateTime: now,
	}
	state.NextSegmentID++
	state.Segments = append(state.Segments, next)
	return r.meta.CommitState(state)
}

// verify reads a sealed segment and compares it with what the meta file says of it.
func (r repair) verify(info types.SegmentInfo) error {
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, segment.FileName(info)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	scan, err := scanSegment(f, st.Size(), info)
	if err != nil {
		return err
	}
	if uint64(scan.indexStart) != info.IndexStart || info.BaseIndex+scan.entries-1 < info.MaxIndex {
		return fmt.Errorf("%w: it holds entries %d to %d whole, of %d to %d", ErrDamaged,
			info.BaseIndex, info.BaseIndex+scan.entries-1, info.BaseIndex, info.MaxIndex)
	}
	return nil
}
