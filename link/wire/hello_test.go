package wire

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func sampleHello() Hello {
	return Hello{Min: 1, Max: 1, Features: Features, Region: "eu", Home: "eu", Epoch: Epoch{3, "eu"}, Software: "0.1.0", Instance: 42}
}

func TestHello_RoundTripReadsNothingBeyond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(0, 40, maxName)
		want := Hello{
			Min: rapid.Uint64Max(5).Draw(t, "min"), Features: rapid.Uint64().Draw(t, "features"),
			Region: name.Draw(t, "region"), Home: name.Draw(t, "home"),
			Epoch:    Epoch{rapid.Uint64().Draw(t, "epoch"), name.Draw(t, "host")},
			Software: name.Draw(t, "software"), Instance: rapid.Uint64().Draw(t, "instance"), MaxMessage: rapid.Uint64().Draw(t, "max message"),
		}
		if want.Features&FeatureHomes != 0 {
			want.Role, want.Purpose = Role(rapid.Byte().Draw(t, "role")), Purpose(rapid.Byte().Draw(t, "purpose"))
			want.To, want.Known = name.Draw(t, "to"), Epoch{rapid.Uint64().Draw(t, "known"), name.Draw(t, "known host")}
		}
		want.Max = want.Min + rapid.Uint64Max(9).Draw(t, "span")
		r := bytes.NewReader(append(want.Append(nil), "next"...))
		got, err := ReadHello(r)
		if err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
		if r.Len() != len("next") {
			t.Fatalf("%d bytes left of what follows, want 4", r.Len())
		}
	})
}

func TestHello_LaterVersionMayAddFields(t *testing.T) {
	b := sampleHello()
	raw := b.Append(nil)
	raw = append(raw, "a field of version 9"...)
	raw[5] += 20
	got, err := ReadHello(bytes.NewReader(raw))
	if err != nil || got != b {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestHello_Refused(t *testing.T) {
	good := sampleHello()
	raw := good.Append(nil)
	reversed := good
	reversed.Min, reversed.Max = 4, 2
	for _, c := range []struct {
		name string
		in   []byte
		want string
		is   error
	}{
		{"another protocol", []byte("GET / HTTP/1.1\r\n"), `opens with "GET "`, ErrCorrupt},
		{"cut", raw[:len(raw)-3], "unexpected EOF", io.ErrUnexpectedEOF},
		{"field cut", append(append([]byte("CWLK\x00"), 10), raw[6:16]...), "epoch is not an integer", ErrCorrupt},
		{"versions reversed", reversed.Append(nil), "versions run from 4 to 2", ErrCorrupt},
		{"huge", []byte("CWLK\xff\xff"), "at most 4096", ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadHello(bytes.NewReader(c.in))
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want one saying %q and being %v", err, c.want, c.is)
			}
		})
	}
}

func TestAgree(t *testing.T) {
	with := func(min, max, features uint64) Hello {
		h := sampleHello()
		h.Min, h.Max, h.Features = min, max, features
		return h
	}
	for _, c := range []struct {
		name          string
		local, remote Hello
		want          Agreement
		bad           bool
	}{
		{"same", with(1, 1, 3), with(1, 1, 3), Agreement{1, 3}, false},
		{"the newer side speaks the older version", with(1, 1, 3), with(1, 4, 3), Agreement{1, 3}, false},
		{"unknown feature bits mean nothing", with(1, 2, 3), with(1, 2, 1<<40|2), Agreement{2, 2}, false},
		{"the newer side forgot the older version", with(1, 1, 3), with(2, 4, 3), Agreement{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, sides := range [][2]Hello{{c.local, c.remote}, {c.remote, c.local}} {
				got, err := Agree(sides[0], sides[1])
				if got != c.want || (err != nil) != c.bad {
					t.Fatalf("got %+v, %v", got, err)
				}
			}
		})
	}
	old, young := with(1, 1, 0), with(2, 4, 0)
	old.Region, old.Software, young.Region, young.Software = "eu", "0.1.0", "us", "2.0.0"
	_, err := Agree(old, young)
	for _, part := range []string{"eu (0.1.0) speaks 1 to 1", "us (2.0.0) speaks 2 to 4"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not say %q", err, part)
		}
	}
}

func FuzzHello(f *testing.F) {
	h := sampleHello()
	f.Add(h.Append(nil))
	f.Add([]byte("CWLK\x00\x00"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadHello(bytes.NewReader(h.Append(nil)))
		if err != nil || again != h {
			t.Fatalf("%+v came back as %+v, %v", h, again, err)
		}
	})
}

// Bits are never given to two features.
func TestFeatures_HaveABitEach(t *testing.T) {
	var all uint64
	for _, f := range []uint64{FeatureZstd, FeatureS2, FeatureRelay, FeatureGroups, FeatureCanary, FeatureTest, FeatureBundle, FeatureZstdStream, FeatureHomes} {
		if bits.OnesCount64(f) != 1 || all&f != 0 {
			t.Errorf("feature %#x beside %#x", f, all)
		}
		all |= f
	}
	if all != Features {
		t.Errorf("features %#x, this list has %#x: complete it", Features, all)
	}
}

// A leaf says so among its features, and agrees on none by it.
func TestHello_Leaf(t *testing.T) {
	h := sampleHello()
	h.Features |= IsLeaf
	got, err := ReadHello(bytes.NewReader(h.Append(nil)))
	if err != nil || !got.Leaf() {
		t.Fatalf("got %+v, %v", got, err)
	}
	hub := sampleHello()
	if a, err := Agree(hub, got); err != nil || a.Features&IsLeaf != 0 || hub.Leaf() {
		t.Errorf("agreed on %+v, %v", a, err)
	}
}
