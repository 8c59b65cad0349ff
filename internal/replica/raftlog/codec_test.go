package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/types"
	"pgregory.net/rapid"

	"causeway/internal/store"
)

func TestMeta_SurvivesARound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint64()
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		m := meta{NextSegmentID: u.Draw(t, "next")}
		for range rapid.IntRange(0, 5).Draw(t, "segments") {
			m.Segments = append(m.Segments, types.SegmentInfo{
				ID: u.Draw(t, "id"), BaseIndex: u.Draw(t, "base"), MinIndex: u.Draw(t, "min"), MaxIndex: u.Draw(t, "max"),
				Codec: u.Draw(t, "codec"), IndexStart: u.Draw(t, "start"), CreateTime: at, SizeLimit: rapid.Uint32().Draw(t, "limit"),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "values") {
			b := rapid.SliceOfN(rapid.Byte(), 1, 20)
			m.Stable = append(m.Stable, stableValue{b.Draw(t, "key"), b.Draw(t, "value")})
		}
		data, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMeta(data)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v became %+v, %v", m, got, err)
		}
		// Any flipped bit is noticed.
		i := rapid.IntRange(0, len(data)-1).Draw(t, "byte")
		data[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := decodeMeta(data); err == nil {
			t.Fatalf("bit flipped in byte %d, and nothing noticed", i)
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	good, err := meta{NextSegmentID: 3, Segments: []types.SegmentInfo{{ID: 2, BaseIndex: 9}}, Stable: []stableValue{{[]byte("k"), []byte("v")}}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[metaHeader:])
	f.Add([]byte(`{"next_segment_id":-1}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := decodeMeta(body); err == nil && !bytes.HasPrefix(body, []byte(metaMagic)) {
			t.Fatal("decoded without a header")
		}
		// With a right header the fuzzer gets past the checksum.
		data := binary.BigEndian.AppendUint32([]byte(metaMagic), metaVersion)
		data = binary.BigEndian.AppendUint32(data, uint32(len(body)))
		data = binary.BigEndian.AppendUint32(data, crc32.Checksum(body, castagnoli))
		m, err := decodeMeta(append(data, body...))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if _, err := m.encode(); err != nil {
			t.Fatalf("%+v does not encode: %v", m, err)
		}
	})
}

func TestMeta_NewerVersion(t *testing.T) {
	data, err := meta{}.encode()
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(data[len(metaMagic):], metaVersion+1)
	if _, err := decodeMeta(data); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "start the newer program") {
		t.Fatalf("got %v", err)
	}
}

// scanInfo is a segment of one batch of two entries, and its description.
func scanSample(t testing.TB) ([]byte, types.SegmentInfo) {
	t.Helper()
	fs := store.NewCrashFS()
	l := open(t, fs)
	add(t, l, entries(1, 2, 1, 50))
	add(t, l, entries(3, 1, 1, 20))
	closeLog(t, l)
	data, err := store.ReadFile(fs, logDir+"/00000000000000000001-0000000000000000.wal", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data, types.SegmentInfo{ID: 0, BaseIndex: 1, Codec: wal.CodecBinaryV1}
}

func FuzzScanSegment(f *testing.F) {
	data, info := scanSample(f)
	f.Add(data)
	f.Add(data[:100])
	f.Add(data[:segmentHeaderLen])
	f.Add([]byte{})
	f.Add(append(bytes.Clone(data[:segmentHeaderLen]), frameEntry, 0, 0, 0, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scanSegment(bytes.NewReader(data), int64(len(data)), info)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		if s.end < 0 || s.end > int64(len(data)) || s.indexStart > s.end || s.end == 0 && s.entries != 0 || s.end%8 != 0 {
			t.Fatalf("%+v of %d bytes", s, len(data))
		}
		if err == nil && s.end > 0 {
			// What was found whole is found again without the rest.
			again, err := scanSegment(bytes.NewReader(data[:s.end]), s.end, info)
			if err != nil || again != s {
				t.Fatalf("%+v became %+v, %v", s, again, err)
			}
		}
	})
}

func TestScanSegment_EveryCut(t *testing.T) {
	// given a segment of two batches cut at any byte, then the whole batches before the cut are found
	data, info := scanSample(t)
	whole, err := scanSegment(bytes.NewReader(data), int64(len(data)), info)
	if err != nil || whole.entries != 3 {
		t.Fatalf("%+v %v", whole, err)
	}
	seen := map[uint64]bool{}
	for n := range len(data) + 1 {
		s, err := scanSegment(bytes.NewReader(data[:n]), int64(n), info)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if int64(n) >= whole.end && s != whole || s.end > int64(n) {
			t.Fatalf("cut at %d: %+v", n, s)
		}
		seen[s.entries] = true
	}
	if len(seen) != 3 || !seen[0] || !seen[2] || !seen[3] {
		t.Fatalf("numbers of entries found: %v", seen)
	}
}

func TestScanSegment_EveryFlip(t *testing.T) {
	// given a flipped bit anywhere in the first of two batches, then that is damage; in the last, its
	// batch counts as torn; behind both, it changes nothing but what is cleared
	data, info := scanSample(t)
	whole, _ := scanSegment(bytes.NewReader(data), int64(len(data)), info)
	first, _ := scanSegment(bytes.NewReader(data[:whole.end-8]), whole.end-8, info)
	for i := range whole.end {
		for bit := range 8 {
			data[i] ^= 1 << bit
			s, err := scanSegment(bytes.NewReader(data), int64(len(data)), info)
			data[i] ^= 1 << bit
			switch {
			case i < first.end && !errors.Is(err, ErrDamaged):
				// The commit frame of the first batch is the one place where nothing is left to
				// tell where the second begins.
				if i < first.end-frameHeaderLen {
					t.Fatalf("byte %d bit %d: %+v, %v", i, bit, s, err)
				}
			case i >= first.end && (err != nil || s != first):
				t.Fatalf("byte %d bit %d: %+v, %v", i, bit, s, err)
			}
		}
	}
}

func TestHCLog_LevelsAndFields(t *testing.T) {
	var out bytes.Buffer
	l := HCLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), "raft")
	l.Info("entering follower state", "leader", "n1")
	l.Named("net").Error("lost", "peer", 7)
	for _, want := range []string{"level=DEBUG", "entering follower state", "leader=n1", "level=ERROR", "library=raft.net", "peer=7"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	out.Reset()
	HCLog(slog.New(slog.NewTextHandler(&out, nil)), "raft").Info("quiet")
	if out.Len() != 0 {
		t.Errorf("raft's info reached the operator: %s", out.String())
	}
	HCLog(nil, "raft").Error("to nobody")
}
