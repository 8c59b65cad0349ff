package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func encoder(t testing.TB, codec Codec) *ShipEncoder {
	e, err := NewShipEncoder(codec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What is shipped comes back, with each codec, several blocks on one stream.
func TestShip_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := encoder(nil, rapid.SampledFrom([]Codec{CodecNone, CodecS2, CodecZstd, CodecZstdStream}).Draw(t, "codec"))
		var stream []byte
		var want []ShipBlock
		for range rapid.IntRange(1, 6).Draw(t, "blocks") {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				var list []ShipRecord
				first := rapid.Uint64Max(1<<60).Draw(t, "first")
				for i := range rapid.IntRange(1, 40).Draw(t, "records") {
					list = append(list, ShipRecord{first + uint64(i), rapid.Uint64().Draw(t, "chain"), bytes.Repeat([]byte{byte(i)}, rapid.IntRange(0, 300).Draw(t, "size"))})
				}
				b, raw, err := e.Records(list)
				if err != nil {
					t.Fatal(err)
				}
				stream = append(stream, b...)
				want = append(want, ShipBlock{Kind: ShipRecords, Records: list, Raw: raw, Wire: len(b)})
			case 1:
				chunk := []byte(strings.Repeat(rapid.String().Draw(t, "chunk"), 30))
				b, err := e.Chunk(chunk)
				if err != nil {
					t.Fatal(err)
				}
				stream = append(stream, b...)
				want = append(want, ShipBlock{Kind: ShipChunk, Chunk: chunk, Raw: len(chunk), Wire: len(b)})
			case 2:
				kind, at := rapid.SampledFrom([]ShipKind{ShipOffer, ShipDone, ShipDiverged}).Draw(t, "mark"), genPosition(t)
				b := e.Mark(kind, at)
				stream = append(stream, b...)
				want = append(want, ShipBlock{Kind: kind, At: at, Wire: len(b)})
			}
		}
		var d ShipDecoder
		r := bytes.NewReader(stream)
		for i := range want {
			got, err := d.Read(r)
			if err != nil {
				t.Fatalf("block %d: %v", i, err)
			}
			if len(want[i].Chunk) == 0 {
				got.Chunk, want[i].Chunk = nil, nil
			}
			if !reflect.DeepEqual(got, want[i]) {
				t.Fatalf("block %d is %+v, want %+v", i, got, want[i])
			}
		}
		if _, err := d.Read(r); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
	})
}

// What is wrong is refused on either side, whatever it says of itself.
func TestShip_Refused(t *testing.T) {
	e := encoder(t, CodecNone)
	for _, list := range [][]ShipRecord{nil, {{N: 1}, {N: 3}}, {{N: 2}, {N: 1}}} {
		if _, _, err := e.Records(list); err == nil {
			t.Errorf("%+v was encoded", list)
		}
	}
	good, _, err := e.Records([]ShipRecord{{N: 7, Chain: 1}, {N: 8, Chain: 2, Data: []byte("record")}})
	if err != nil {
		t.Fatal(err)
	}
	good = bytes.Clone(good)
	read := func(b []byte) error {
		var d ShipDecoder
		_, err := d.Read(bytes.NewReader(b))
		return err
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		if read(b) == nil {
			t.Errorf("a flipped bit in byte %d was not noticed", i)
		}
		if i > 0 && read(good[:i]) == nil {
			t.Errorf("%d of %d bytes were enough", i, len(good))
		}
	}
	if err := read([]byte{1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a block of 4 GiB: %v", err)
	}
}

func FuzzShip(f *testing.F) {
	for _, codec := range []Codec{CodecNone, CodecS2, CodecZstd, CodecZstdStream} {
		e := encoder(f, codec)
		b, _, err := e.Records([]ShipRecord{{N: 7, Chain: 1}, {N: 8, Chain: 2, Data: bytes.Repeat([]byte("record"), 50)}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(ShipRecords), bytes.Clone(b[shipHead:]))
	}
	e := encoder(f, CodecNone)
	f.Add(byte(ShipOffer), bytes.Clone(e.Mark(ShipOffer, Position{Epoch{2, "us"}, 7, 8})[shipHead:]))
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		if len(body) > 1<<20 {
			return
		}
		var d, again ShipDecoder
		b, err := d.parse(ShipKind(kind), body)
		if err != nil || b.Kind != ShipRecords {
			return
		}
		out, _, err := encoder(t, CodecNone).Records(b.Records)
		if err != nil {
			t.Fatalf("%d records were read and are not written: %v", len(b.Records), err)
		}
		back, err := again.Read(bytes.NewReader(out))
		if err != nil || !reflect.DeepEqual(back.Records, b.Records) {
			t.Fatalf("%+v came back as %+v, %v", b.Records, back.Records, err)
		}
	})
}

func FuzzCall(f *testing.F) {
	f.Add(AppendRequest(nil, []byte("what")))
	f.Add(AppendReply(nil, CallFailed, []byte("no")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := ReadRequest(bytes.NewReader(b)); err == nil {
			if again, err := ReadRequest(bytes.NewReader(AppendRequest(nil, q))); err != nil || !bytes.Equal(again, q) {
				t.Fatalf("%q came back as %q, %v", q, again, err)
			}
		}
		code, a, err := ReadReply(bytes.NewReader(b))
		if err != nil {
			return
		}
		if c, again, err := ReadReply(bytes.NewReader(AppendReply(nil, code, a))); err != nil || c != code || !bytes.Equal(again, a) {
			t.Fatalf("%d %q came back as %d %q, %v", code, a, c, again, err)
		}
	})
}

// What a peer of an older version says of its standby is that it has none.
func TestCursor_OfAnOlderVersion(t *testing.T) {
	c := Cursor{Source: Source{"eu", Epoch{1, "eu"}}, Class: "c", Known: true, Seq: 300, Applied: 9}
	b := c.append(nil)
	m, err := parseControl(typeCursor, b[:len(b)-1])
	if got, ok := m.(*Cursor); err != nil || !ok || got.Applied != 300 {
		t.Errorf("got %+v, %v", m, err)
	}
}
