package raftlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft-wal/types"
)

// raft-wal's segment format, version 0 (its README and segment/format.go):
//
//	header  magic u64, base index u64, segment id u64, codec u64
//	frame   type u8, zero u24, length or CRC u32, payload padded to 8 bytes
//
// all little endian. An append is entry frames, an index frame if it seals the segment, and a commit
// frame whose CRC32C covers everything since the previous commit frame, the first time the header
// too. A file that was preallocated ends in zeros.
const (
	segmentHeaderLen = 32
	segmentMagic     = 0x58eb6b0d
	frameHeaderLen   = 8

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3
)

// segmentScan is what a segment file holds, checked.
type segmentScan struct {
	// begin and end are the offsets of the last whole batch; end is 0 if there is none.
	begin, end int64
	// entries is how many entries the whole batches hold.
	entries uint64
	// indexStart is the offset of the index when the last whole batch sealed the segment, else 0.
	indexStart int64
}

// scanSegment reads a segment from its beginning, checking each batch, up to the first that is not
// whole. It returns ErrDamaged if whole batches follow that one: they were written only after the
// ones before them were synced.
func scanSegment(r io.ReaderAt, size int64, info types.SegmentInfo) (segmentScan, error) {
	s, err := scanBatches(r, size, info)
	if err != nil {
		return s, err
	}
	at, err := batchBehind(r, max(s.end, segmentHeaderLen), size)
	if err != nil {
		return s, err
	}
	if at != 0 {
		return s, fmt.Errorf("%w: what follows entry %d is unreadable, but the batch ending at offset %d is whole: the disk lost acknowledged entries",
			ErrDamaged, info.BaseIndex+s.entries-1, at)
	}
	return s, nil
}

// scanBatches is scanSegment without the look behind.
func scanBatches(r io.ReaderAt, size int64, info types.SegmentInfo) (s segmentScan, err error) {
	in := section(r, 0, size)
	var header [segmentHeaderLen]byte
	if ok, err := readFull(in, header[:]); !ok {
		return s, err
	}
	sum := crc32.Checksum(header[:], castagnoli)
	var batch segmentScan // of the batch being read
	for off := int64(segmentHeaderLen); ; {
		var frame [frameHeaderLen]byte
		if ok, err := readFull(in, frame[:]); !ok {
			return s, err
		}
		kind, arg := frame[0], binary.LittleEndian.Uint32(frame[4:])
		switch {
		case frame[1]|frame[2]|frame[3] != 0:
			return s, nil
		case kind == frameCommit && arg == sum:
			if s.end == 0 {
				if err := checkHeader(header, info); err != nil {
					return s, err
				}
			}
			off += frameHeaderLen
			s = segmentScan{begin: s.end, end: off, entries: s.entries + batch.entries, indexStart: batch.indexStart}
			sum, batch = 0, segmentScan{}
		case kind == frameEntry || kind == frameIndex:
			n := (int64(arg) + 7) &^ 7
			sum = crc32.Update(sum, castagnoli, frame[:])
			if ok, err := sumNext(in, n, &sum); !ok {
				return s, err
			}
			if kind == frameEntry {
				batch.entries++
			} else {
				batch.indexStart = off + frameHeaderLen
			}
			off += frameHeaderLen + n
		default: // zeros, garbage, or a commit that does not match
			return s, nil
		}
	}
}

// section reads r from from to size, which may be less.
func section(r io.ReaderAt, from, size int64) *bufio.Reader {
	n := max(size-from, 0)
	return bufio.NewReaderSize(io.NewSectionReader(r, from, n), int(min(n, 256<<10)))
}

func checkHeader(h [segmentHeaderLen]byte, info types.SegmentInfo) error {
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(h[8*i:]) }
	if field(0) != segmentMagic || field(1) != info.BaseIndex || field(2) != info.ID || field(3) != info.Codec {
		return fmt.Errorf("%w: segment with base index %d has another segment's header", ErrDamaged, info.BaseIndex)
	}
	return nil
}

// readFull says false at the end of the file, with an error only if reading failed.
func readFull(in io.Reader, p []byte) (bool, error) {
	_, err := io.ReadFull(in, p)
	return endOfFile(err)
}

// sumNext updates sum with the next n bytes; false as readFull.
func sumNext(in *bufio.Reader, n int64, sum *uint32) (bool, error) {
	for n > 0 {
		p, err := in.Peek(int(min(n, int64(in.Size()))))
		if len(p) == 0 || err != nil && !errors.Is(err, io.EOF) {
			return endOfFile(err)
		}
		*sum = crc32.Update(*sum, castagnoli, p)
		n -= int64(len(p))
		if _, err := in.Discard(len(p)); err != nil {
			return false, err
		}
	}
	return true, nil
}

func endOfFile(err error) (bool, error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return err == nil, err
}

// batchBehind looks for a whole batch that starts right behind a commit frame at or after from, and
// returns the offset it ends at, or 0. Frames are aligned to 8 bytes; payload that looks like a
// commit frame is why several candidates are followed at once.
func batchBehind(r io.ReaderAt, from, size int64) (end int64, err error) {
	in := section(r, from, size)
	const candidates = 4
	var sums []uint32 // of what followed each of the last few commit-like frames
	var word [frameHeaderLen]byte
	for off := from; ; off += frameHeaderLen {
		if ok, err := readFull(in, word[:]); !ok {
			return 0, err
		}
		commit := word[0] == frameCommit && word[1]|word[2]|word[3] == 0
		arg := binary.LittleEndian.Uint32(word[4:])
		for i := range sums {
			// A sum of 0 is an empty batch, which raft-wal never writes.
			if commit && sums[i] == arg && arg != 0 {
				return off + frameHeaderLen, nil
			}
			sums[i] = crc32.Update(sums[i], castagnoli, word[:])
		}
		if commit {
			if len(sums) == candidates {
				sums = append(sums[:0], sums[1:]...)
			}
			sums = append(sums, 0)
		}
	}
}
