package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestChunk_RoundTrip(t *testing.T) {
	b := AppendStripe(nil, 300)
	for seq, size := range []int{1, 16 << 10, 0, MaxChunk} {
		b = AppendChunk(b, uint64(seq)<<20, bytes.Repeat([]byte{byte(seq)}, size))
	}
	r := bufio.NewReader(bytes.NewReader(b))
	if n, err := ReadStripe(r); n != 300 || err != nil {
		t.Fatalf("stripe %d, %v", n, err)
	}
	for want, size := range []int{1, 16 << 10, 0, MaxChunk} {
		seq, n, err := ReadChunkHead(r)
		if err != nil || seq != uint64(want)<<20 || n != size {
			t.Fatalf("chunk %d: %d, %d bytes, %v", want, seq, n, err)
		}
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := ReadChunkHead(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestChunk_TooLarge(t *testing.T) {
	b := AppendChunk(nil, 1, make([]byte, MaxChunk+1))
	if _, _, err := ReadChunkHead(bufio.NewReader(bytes.NewReader(b))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func FuzzReadChunkHead(f *testing.F) {
	f.Add(AppendChunk(nil, 1<<50, []byte("data")))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, n, err := ReadChunkHead(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && (n < 0 || n > MaxChunk) {
			t.Errorf("a chunk of %d bytes", n)
		}
	})
}
