package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func genSource(t *rapid.T) Source {
	name := rapid.StringN(0, 20, maxName)
	return Source{Home: name.Draw(t, "home"), Epoch: genEpoch(t)}
}

func genEpoch(t *rapid.T) Epoch {
	return Epoch{rapid.Uint64().Draw(t, "epoch"), rapid.StringN(0, 20, maxName).Draw(t, "host")}
}

func genPosition(t *rapid.T) Position {
	return Position{Epoch: genEpoch(t), Records: rapid.Uint64().Draw(t, "records"), Chain: rapid.Uint64().Draw(t, "chain")}
}

func genDigest(t *rapid.T) Digest {
	return Digest{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
}

func genFilters(t *rapid.T, label string) []Filter {
	n := rapid.IntRange(0, 300).Draw(t, label)
	var out []Filter
	for i := range n {
		out = append(out, Filter{Namespace: "cars", Filter: fmt.Sprintf("vehicles/%d/%s", i, rapid.StringN(0, 5, 50).Draw(t, "tail"))})
	}
	return out
}

func genControl(t *rapid.T) Control {
	u := func(name string) uint64 { return rapid.Uint64().Draw(t, name) }
	class := rapid.StringN(0, 20, maxName)
	switch rapid.IntRange(0, 15).Draw(t, "type") {
	case 0:
		return &Cursor{Source: genSource(t), Class: class.Draw(t, "class"), Known: rapid.Bool().Draw(t, "known"), Seq: u("seq"), Applied: u("applied")}
	case 11:
		return &Hosts{Homes: rapid.SliceOfN(rapid.Custom(genSource), 1, 5).Draw(t, "homes")}
	case 12:
		return &ShipAt{Nonce: u("nonce"), At: genPosition(t), Broken: rapid.Bool().Draw(t, "broken"), Refusal: class.Draw(t, "refusal"), Trouble: class.Draw(t, "trouble")}
	case 13:
		return &ShipFrom{Nonce: u("nonce"), Begun: rapid.Bool().Draw(t, "begun"), After: []byte(rapid.StringN(1, 100, 100).Draw(t, "after"))}
	case 14:
		return &ShipAck{At: genPosition(t)}
	case 1:
		return &Ack{Source: genSource(t), Class: class.Draw(t, "class"), Committed: u("committed"), Applied: u("applied")}
	case 2:
		return &Goodbye{Code: u("code"), Reason: rapid.StringN(0, 100, maxText).Draw(t, "reason")}
	case 8:
		return &RelayAnswer{Code: u("code"), Reason: rapid.StringN(0, 100, maxText).Draw(t, "reason")}
	case 9:
		return &Question{Nonce: u("nonce"), View: rapid.Bool().Draw(t, "view"), Namespace: class.Draw(t, "namespace"), Topic: class.Draw(t, "topic")}
	case 10:
		return &Answer{Nonce: u("nonce"), View: []byte(rapid.StringN(1, 100, maxText).Draw(t, "view"))}
	case 7:
		return &Welcome{Agreement{Version: u("version"), Features: u("features")}}
	case 3:
		return &InterestRequest{Full: rapid.Bool().Draw(t, "full"), Epoch: genEpoch(t), Version: u("version")}
	case 4:
		return &InterestDigest{Epoch: genEpoch(t), Version: u("version"), Digest: genDigest(t)}
	case 5:
		return &InterestChunk{Epoch: genEpoch(t), Version: u("version"), Digest: genDigest(t), Index: u("index"),
			Last: rapid.Bool().Draw(t, "last"), Filters: genFilters(t, "filters")}
	default:
		return &InterestDelta{Epoch: genEpoch(t), Base: u("base"), Version: u("version"),
			Add: genFilters(t, "add"), Remove: genFilters(t, "remove")}
	}
}

func TestControl_RoundTripWithUnknownTypesBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := []Control{genControl(t), genControl(t), genControl(t)}
		var b []byte
		for _, m := range want {
			b = AppendControl(b, m)
			b = append(b, 99, 3, 'n', 'e', 'w') // of a later version
		}
		r := bufio.NewReader(bytes.NewReader(b))
		for i, w := range want {
			got, err := ReadControl(r)
			if err != nil || !reflect.DeepEqual(got, w) {
				t.Fatalf("message %d: got %+v, %v; want %+v", i, got, err, w)
			}
		}
		if m, err := ReadControl(r); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last: %+v, %v", m, err)
		}
	})
}

func TestControl_Refused(t *testing.T) {
	ack := AppendControl(nil, &Ack{Source: Source{Home: "eu"}, Class: "c", Committed: 1, Applied: 1})
	bomb := (&InterestDelta{}).append(nil)
	bomb = append(bomb[:len(bomb)-8], 5, byte(CodecS2), 0xff, 0xff, 0xff, 0x7f, 0)
	for _, c := range []struct {
		name string
		in   []byte
		want string
		is   error
	}{
		{"cut", ack[:len(ack)-1], "unexpected EOF", io.ErrUnexpectedEOF},
		{"size cut", ack[:1], "unexpected EOF", io.ErrUnexpectedEOF},
		{"huge", []byte{typeAck, 0xff, 0xff, 0xff, 0x7f}, "at most", ErrTooLarge},
		{"fields missing", []byte{typeAck, 1, 0}, "not an integer", ErrCorrupt},
		{"more filters than bytes", append([]byte{typeInterestDelta, byte(len(bomb))}, bomb...), "at most", ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadControl(bufio.NewReader(bytes.NewReader(c.in)))
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want one saying %q and being %v", err, c.want, c.is)
			}
		})
	}
}

func TestControl_LongGoodbyeIsCut(t *testing.T) {
	b := AppendControl(nil, &Goodbye{Code: GoodbyeFailed, Reason: strings.Repeat("x", 5000)})
	m, err := ReadControl(bufio.NewReader(bytes.NewReader(b)))
	if g, ok := m.(*Goodbye); err != nil || !ok || len(g.Reason) != maxText {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestInterestChunk_SortedFiltersShrink(t *testing.T) {
	var filters []Filter
	raw := 0
	for i := range 5000 {
		f := Filter{"cars", fmt.Sprintf("fleet/%06d/command/#", i)}
		raw += FilterBytes(f)
		filters = append(filters, f)
	}
	if raw > MaxInterestBlock {
		t.Fatalf("%d bytes of filters do not fit", raw)
	}
	b := AppendControl(nil, &InterestChunk{Filters: filters})
	if len(b)*2 > raw {
		t.Fatalf("%d bytes of filters take %d on the wire", raw, len(b))
	}
}

func TestStreamHead_RoundTrip(t *testing.T) {
	for _, want := range []StreamHead{
		{Kind: StreamLive}, {Kind: StreamInterest}, {Kind: 77}, {Kind: StreamPadding, Nonce: 300, Bytes: 1 << 20},
		{Kind: StreamSpool, Source: Source{"eu", Epoch{2, "us"}}, Class: "commands"},
		{Kind: StreamRelay, Path: RelayPath{From: "eu", To: "us", Hops: MaxHops}},
	} {
		r := bufio.NewReader(bytes.NewReader(append(want.Append(nil), '!')))
		got, err := ReadStreamHead(r)
		if err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
		if c, _ := r.ReadByte(); c != '!' {
			t.Fatalf("the byte after the opening is %q", c)
		}
	}
}

func FuzzControl(f *testing.F) {
	for _, m := range []Control{
		&Cursor{Class: "c", Known: true, Seq: 7}, &Ack{Committed: 9}, &Goodbye{Reason: "bye"}, &Welcome{Agreement{1, 3}}, &InterestRequest{Full: true}, &RelayAnswer{Code: RelayBusy, Reason: "full"},
		&Hosts{Homes: []Source{{"eu", Epoch{2, "us"}}}}, &ShipAt{Nonce: 1, At: Position{Epoch{2, "us"}, 7, 8}, Trouble: "full"},
		&ShipFrom{Nonce: 1, Begun: true, After: []byte("k")}, &ShipAck{At: Position{Records: 9}},
		&Join{Token: JoinToken{31: 1}}, &Connections{Want: 32, TCP: true},
		&InterestDigest{Version: 3}, &InterestChunk{Last: true, Filters: []Filter{{"ns", "a/#"}}},
		&InterestDelta{Add: []Filter{{"", "+"}}, Remove: []Filter{{"", "b"}}},
	} {
		f.Add(AppendControl(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadControl(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, err := ReadControl(bufio.NewReader(bytes.NewReader(AppendControl(nil, m))))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

func FuzzStreamHead(f *testing.F) {
	h := StreamHead{Kind: StreamSpool, Source: Source{"eu", Epoch{1, "eu"}}, Class: "c"}
	f.Add(h.Append(nil))
	f.Add([]byte{2, 0})
	relay := StreamHead{Kind: StreamRelay, Path: RelayPath{From: "eu", To: "us", Hops: 1}}
	f.Add(relay.Append(nil))
	for _, h := range []StreamHead{{Kind: StreamCall, Call: 3}, {Kind: StreamShip, Nonce: 9}} {
		f.Add(h.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadStreamHead(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, err := ReadStreamHead(bufio.NewReader(bytes.NewReader(h.Append(nil))))
		if err != nil || again != h {
			t.Fatalf("%+v came back as %+v, %v", h, again, err)
		}
	})
}
