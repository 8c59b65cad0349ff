package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// Frames of any sizes, which compress or do not, come out of the other end of
// their stream as they went in.
func TestZstdStream_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, err := NewEncoder(CodecZstdStream)
		if err != nil {
			t.Fatal(err)
		}
		d, noise := NewDecoder(0), rand.NewChaCha8([32]byte{})
		for n := range rapid.IntRange(1, 30).Draw(t, "frames") {
			payload := make([]byte, rapid.SampledFrom([]int{0, 1, 30, 500, 9000, 300_000}).Draw(t, "size"))
			if rapid.Bool().Draw(t, "noise") {
				_, _ = noise.Read(payload)
			}
			want := []Message{{Seq: 7, Topic: "t", Payload: payload}}
			e.Begin(0)
			e.Add(&want[0])
			b, err := e.Finish(Header{To: 9})
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Read(bytes.NewReader(b))
			if err != nil {
				t.Fatalf("frame %d: %v", n, err)
			}
			equalMessages(t, got.Messages, want)
		}
	})
}

// A frame of one small message shrinks by what came before it.
func TestZstdStream_SmallFramesShrink(t *testing.T) {
	raw, sent := 0, 0
	e, _ := NewEncoder(CodecZstdStream)
	for i := range 200 {
		e.Begin(0)
		e.Add(&Message{Seq: 1, Topic: "fleet/7/telemetry", Payload: fmt.Appendf(nil, `{"vin":"WDB22000007","seq":%d,"speed_kmh":%d,"doors":{"fl":"closed","fr":"closed"},"soc":%d}`, i, i%130, 90-i%40)})
		b, err := e.Finish(Header{Source: Source{Home: "eu"}, To: 1})
		if err != nil {
			t.Fatal(err)
		}
		raw, sent = raw+e.Raw(), sent+len(b)
	}
	if head := 200 * 32; sent-head > raw/4 {
		t.Errorf("%d bytes became %d, with heads of %d", raw, sent, head)
	}
}

func TestZstdStream_Refuses(t *testing.T) {
	zip := func(window int, data []byte) []byte {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithSingleSegment(false), zstd.WithEncoderCRC(false))
		return e.EncodeAll(data, nil)
	}
	z, _ := newZstdStream()
	data := bytes.Repeat([]byte("abcd"), 1000)
	good, _ := z.block(data)
	for name, c := range map[string]struct {
		data []byte
		size int
	}{
		"a window above the bound": {zip(8<<20, make([]byte, 9<<20)), 9 << 20},
		"more than it says":        {append(bytes.Clone(good), good[len(good)-20:]...), 4000},
		"less than it says":        {good, 4001},
		"cut off":                  {good[:len(good)-1], 4000},
		"noise":                    {data, 4000},
		"nothing":                  {nil, 1},
	} {
		d := decompressor{}
		if _, err := d.block(CodecZstdStream, c.data, c.size); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The middle of a stream is nothing without its beginning.
	next, _ := z.block(data)
	d := decompressor{}
	if _, err := d.block(CodecZstdStream, next, len(data)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a stream from its middle: %v", err)
	}
}

// FuzzZstdStream decompresses several blocks of one stream, whatever they hold.
func FuzzZstdStream(f *testing.F) {
	z, _ := newZstdStream()
	for i := range 3 {
		b, _ := z.block(bytes.Repeat([]byte("abcd"), 10*i+10))
		f.Add(bytes.Clone(b), bytes.Clone(b), uint16(40*i+40))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, size uint16) {
		d := decompressor{}
		for _, data := range [][]byte{a, b} {
			if raw, err := d.block(CodecZstdStream, data, int(size)); err == nil && len(raw) != int(size) {
				t.Fatalf("%d bytes, want %d", len(raw), size)
			}
		}
	})
}
