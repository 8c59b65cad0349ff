package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func genMessage(t *rapid.T, last uint64, live bool) Message {
	m := Message{
		Namespace:     rapid.SampledFrom([]string{"", "cars", "plants"}).Draw(t, "namespace"),
		Topic:         rapid.StringN(0, 30, 200).Draw(t, "topic"),
		Payload:       bytes.Repeat([]byte{'p', byte(last)}, rapid.IntRange(0, 400).Draw(t, "payload")),
		ExpiryMillis:  rapid.Uint64Max(1<<40).Draw(t, "expiry"),
		RetainVersion: rapid.Uint64Max(3).Draw(t, "version"),
		QoS:           byte(rapid.IntRange(0, 2).Draw(t, "qos")),
		Retain:        rapid.Bool().Draw(t, "retain"),
		Live:          rapid.Bool().Draw(t, "live"),
	}
	if rapid.Bool().Draw(t, "forward") {
		m.Forward = rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "properties")
	}
	if rapid.IntRange(0, 4).Draw(t, "for groups") == 0 {
		m.Groups = rapid.SliceOfN(rapid.StringN(0, 9, 30), 1, 3).Draw(t, "groups")
	}
	if !live {
		m.Seq = last + 1 + rapid.Uint64Max(1000).Draw(t, "gap")
	}
	return m
}

func TestFrame_RoundTrip(t *testing.T) {
	encoders := map[Codec]*Encoder{}
	for _, c := range []Codec{CodecNone, CodecS2, CodecZstd} {
		e, err := NewEncoder(c)
		if err != nil {
			t.Fatal(err)
		}
		encoders[c] = e
	}
	rapid.Check(t, func(t *rapid.T) {
		h := Header{Source: genSource(t), Live: rapid.Bool().Draw(t, "live"), Gap: rapid.Bool().Draw(t, "gap")}
		e := encoders[Codec(rapid.IntRange(0, 2).Draw(t, "codec"))]
		if h.Live {
			e.BeginLive()
		} else {
			h.Class, h.From = rapid.StringN(0, 9, maxName).Draw(t, "class"), rapid.Uint64Max(1<<60).Draw(t, "from")
			e.Begin(h.From)
		}
		var want []Message
		last := h.From
		for range rapid.IntRange(0, 40).Draw(t, "messages") {
			m := genMessage(t, last, h.Live)
			if !e.Add(&m) {
				t.Fatalf("message %d of %d bytes did not fit after %d", len(want), len(m.Payload), e.Raw())
			}
			want, last = append(want, m), m.Seq
		}
		if !h.Live {
			h.To = last + rapid.Uint64Max(5).Draw(t, "unwanted")
		}
		b, err := e.Finish(h)
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(append(bytes.Clone(b), 'x'))
		got, err := NewDecoder(0).Read(r)
		if err != nil {
			t.Fatal(err)
		}
		if got.Header != h || got.Raw != e.Raw() || got.Wire != len(b) || r.Len() != 1 {
			t.Fatalf("got %+v (%d raw, %d wire, %d left), want %+v", got.Header, got.Raw, got.Wire, r.Len(), h)
		}
		equalMessages(t, got.Messages, want)
	})
}

func equalMessages(t interface{ Fatalf(string, ...any) }, got, want []Message) {
	if len(got) != len(want) {
		t.Fatalf("got %d messages, want %d", len(got), len(want))
	}
	for i := range got {
		if len(got[i].Payload) == 0 && len(want[i].Payload) == 0 {
			got[i].Payload = want[i].Payload
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("message %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestEncoder_BoundsAFrameButNotAMessage(t *testing.T) {
	e, _ := NewEncoder(CodecZstd)
	e.Begin(0)
	big := Message{Seq: 1, Topic: "t", Payload: make([]byte, 3<<20)}
	if !e.Add(&big) {
		t.Fatal("the first message of a frame must always fit")
	}
	if small := (Message{Seq: 2, Topic: "t"}); e.Add(&small) {
		t.Fatal("a frame above its bound took another message")
	}
	b, err := e.Finish(Header{To: 1})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := NewDecoder(4 << 20).Read(bytes.NewReader(b)); err != nil || len(f.Messages[0].Payload) != 3<<20 {
		t.Fatalf("a large message did not cross: %v", err)
	}
	if _, err := NewDecoder(2 << 20).Read(bytes.NewReader(b)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a message above the receiver's limit: %v", err)
	}
}

func TestEncoder_RefusesASpanThatDoesNotCover(t *testing.T) {
	e, _ := NewEncoder(CodecNone)
	e.Begin(10)
	e.Add(&Message{Seq: 15, Topic: "t"})
	for _, h := range []Header{{From: 10, To: 14}, {From: 10, To: 9}, {From: 10, To: 15, Live: true}} {
		if _, err := e.Finish(h); err == nil {
			t.Errorf("the span (%d, %d] live=%v was accepted for a message 15", h.From, h.To, h.Live)
		}
	}
}

func TestEncoder_GivesUpOnWhatDoesNotCompress(t *testing.T) {
	for _, codec := range []Codec{CodecS2, CodecZstd} {
		e, _ := NewEncoder(codec)
		noise := make([]byte, 4096)
		rng := rand.NewChaCha8([32]byte{1})
		tried := 0
		for i := range 1000 {
			_, _ = rng.Read(noise)
			e.Begin(uint64(i))
			e.Add(&Message{Seq: uint64(i + 1), Payload: noise})
			before := e.comp.skip
			b, err := e.Finish(Header{From: uint64(i), To: uint64(i + 1)})
			if err != nil {
				t.Fatal(err)
			}
			if before == 0 {
				tried++
			}
			if len(b) > len(noise)+200 {
				t.Fatalf("%s: %d bytes of noise take %d", codec, len(noise), len(b))
			}
		}
		if tried > 30 {
			t.Errorf("%s: tried %d times on 1000 blocks of noise", codec, tried)
		}
		text := bytes.Repeat([]byte("temperature "), 400)
		for i := range maxSkip + 1 {
			e.Begin(uint64(i))
			e.Add(&Message{Seq: uint64(i + 1), Payload: text})
			b, _ := e.Finish(Header{From: uint64(i), To: uint64(i + 1)})
			if i == maxSkip && len(b)*5 > len(text) {
				t.Errorf("%s: never tried again: %d bytes of text take %d", codec, len(text), len(b))
			}
		}
	}
}

// A damaged or hostile frame is an error that says what is wrong, and costs no
// more memory than its declared and bounded size.
func TestDecoder_Refused(t *testing.T) {
	e, _ := NewEncoder(CodecNone)
	e.Begin(4)
	e.Add(&Message{Seq: 6, Topic: "a/b", Payload: []byte("hello")})
	good, err := e.Finish(Header{Source: Source{Home: "eu"}, From: 4, To: 9})
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	zenc, _ := zstd.NewWriter(nil)
	bomb := zenc.EncodeAll(make([]byte, 4<<20), nil)
	for _, c := range []struct {
		name string
		in   []byte
		want string
		is   error
	}{
		{"cut", good[:len(good)-1], "unexpected EOF", io.ErrUnexpectedEOF},
		{"head cut", good[:5], "unexpected EOF", io.ErrUnexpectedEOF},
		{"one bit", flipped, "checksum", ErrCorrupt},
		{"declared huge", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "at most", ErrTooLarge},
		{"raw size huge", handMade(0, 9, 2, CodecZstd, 1<<40, bomb), "at most", ErrTooLarge},
		{"zstd bomb", handMade(0, 9, 2, CodecZstd, 1000, bomb), "zstd", ErrCorrupt},
		{"s2 says another size", handMade(0, 9, 2, CodecS2, 1000, []byte{0x80, 0x80, 0x80, 0x10, 0}), "s2 block", ErrCorrupt},
		{"codec unknown", handMade(0, 9, 1, 9, 4, []byte("abcd")), "codec 9", ErrCorrupt},
		{"count impossible", handMade(0, 9, 500, CodecNone, 4, []byte("abcd")), "says it has 500 messages", ErrCorrupt},
		{"raw size wrong", handMade(0, 9, 1, CodecNone, 5, []byte("abcd")), "says it has 5", ErrCorrupt},
		{"message outside the span", handMade(7, 8, 1, CodecNone, 5, []byte{0x10, 2, 1, 't', 0}), "has seq 9 after 7", ErrCorrupt},
		{"seq stands still", handMade(7, 8, 1, CodecNone, 5, []byte{0x10, 0, 1, 't', 0}), "has seq 7 after 7", ErrCorrupt},
		{"QoS 3", handMade(7, 8, 1, CodecNone, 5, []byte{0x13, 1, 1, 't', 0}), "QoS 3", ErrCorrupt},
		{"bytes after the messages", handMade(7, 8, 1, CodecNone, 6, []byte{0x10, 1, 1, 't', 0, 0}), "1 bytes follow", ErrCorrupt},
		{"payload longer than the frame", handMade(7, 8, 1, CodecNone, 5, []byte{0x10, 1, 1, 't', 200}), "not an integer", ErrCorrupt},
		{"span overflows", overflowing(), "overflows", ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewDecoder(0).Read(bytes.NewReader(c.in))
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want one saying %q and being %v", err, c.want, c.is)
			}
		})
	}
}

// handMade builds a frame with a right checksum around whatever it is given.
func handMade(from, to, count uint64, codec Codec, raw uint64, data []byte) []byte {
	h := Header{Source: Source{Home: "eu", Epoch: Epoch{1, "eu"}}, From: from, To: to}
	body := h.append(nil, false)
	body = binary.AppendUvarint(body, count)
	body = append(body, byte(codec))
	body = binary.AppendUvarint(body, raw)
	return sealed(append(body, data...))
}

func overflowing() []byte {
	h := Header{}
	body := h.append(nil, false)
	body = body[:len(body)-2]
	body = binary.AppendUvarint(body, 10)
	body = binary.AppendUvarint(body, 1<<64-1)
	return sealed(append(body, 0, 0, 0))
}

func sealed(body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

func TestCodec_Supported(t *testing.T) {
	for _, c := range []struct {
		ask      Codec
		features uint64
		want     Codec
	}{{CodecZstd, Features, CodecZstdStream}, {CodecZstd, FeatureZstd | FeatureS2, CodecZstd}, {CodecZstd, FeatureS2, CodecS2}, {CodecS2, FeatureZstd, CodecNone}, {CodecNone, Features, CodecNone}} {
		if got := Supported(c.ask, c.features); got != c.want {
			t.Errorf("asking for %s with features %b gives %s, want %s", c.ask, c.features, got, c.want)
		}
	}
}

// FuzzFrame mends the checksum, so that what lies behind it is reached.
func FuzzFrame(f *testing.F) {
	for _, c := range []Codec{CodecNone, CodecS2, CodecZstd, CodecZstdStream} {
		e, _ := NewEncoder(c)
		e.Begin(4)
		for i := range uint64(20) {
			e.Add(&Message{Seq: 6 + i, Namespace: "ns", Topic: "a/b", Payload: []byte("hello hello hello"), Forward: []byte{1}, ExpiryMillis: 5, RetainVersion: 2, Groups: []string{"", "g/a/#"}[:i%3%2*2]})
		}
		b, _ := e.Finish(Header{Source: Source{Home: "eu"}, Class: "c", From: 4, To: 50})
		f.Add(bytes.Clone(b[frameHead:]))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fr, err := NewDecoder(1 << 16).Read(bytes.NewReader(sealed(body)))
		if err != nil {
			return
		}
		e, _ := NewEncoder(CodecNone)
		e.begin(fr.From, fr.Live)
		for i := range fr.Messages {
			if !e.Add(&fr.Messages[i]) {
				t.Skip("encoded more tightly than we do")
			}
		}
		b, err := e.Finish(fr.Header)
		if err != nil {
			t.Fatal(err)
		}
		again, err := NewDecoder(0).Read(bytes.NewReader(b))
		if err != nil || again.Header != fr.Header {
			t.Fatalf("%+v came back as %+v, %v", fr.Header, again.Header, err)
		}
		for i, m := range fr.Messages { // what is empty need not be sent to be the same
			if len(m.Forward) == 0 {
				fr.Messages[i].Forward = again.Messages[i].Forward
			}
		}
		equalMessages(t, again.Messages, fr.Messages)
	})
}

func benchFrame(b *testing.B, codec Codec) ([]Message, *Encoder) {
	rng := rand.New(rand.NewPCG(1, 2))
	var messages []Message
	for i := range uint64(64) {
		messages = append(messages, Message{Seq: i + 1, Namespace: "cars", Topic: fmt.Sprintf("fleet/%d/telemetry", rng.IntN(2000)), QoS: 1, Live: true,
			Payload: fmt.Appendf(nil, `{"device":"vehicle-%04d","ts":17637%08d,"speed":%.2f,"soc":%.1f,"lat":%.6f,"lon":%.6f,"odometer":%d,"state":"driving","doors":{"fl":false,"fr":false,"rl":false,"rr":false},"hvac":{"on":true,"set":21.5}}`,
				rng.IntN(2000), rng.IntN(1e8), rng.Float64()*130, rng.Float64()*100, 48+rng.Float64(), 11+rng.Float64(), rng.IntN(200000))})
	}
	e, err := NewEncoder(codec)
	if err != nil {
		b.Fatal(err)
	}
	return messages, e
}

func BenchmarkFrame(b *testing.B) {
	for _, codec := range []Codec{CodecNone, CodecS2, CodecZstd} {
		messages, e := benchFrame(b, codec)
		h := Header{Source: Source{"eu", Epoch{1, "eu"}}, To: 64}
		encode := func() []byte {
			e.Begin(0)
			for i := range messages {
				e.Add(&messages[i])
			}
			out, err := e.Finish(h)
			if err != nil {
				b.Fatal(err)
			}
			return out
		}
		perMessage := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/msg")
			b.ReportMetric(float64(e.Raw())/float64(len(encode())), "ratio")
		}
		b.Run("encode/"+codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encode()
			}
			perMessage(b)
		})
		b.Run("decode/"+codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			d, in := NewDecoder(0), bytes.Clone(encode())
			for b.Loop() {
				if _, err := d.Read(bytes.NewReader(in)); err != nil {
					b.Fatal(err)
				}
			}
			perMessage(b)
		})
	}
}
