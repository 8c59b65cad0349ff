package cluster

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestHello(t *testing.T) {
	h := hello{Peer: Peer{Node: "eu-1", Role: Core, Disk: "d", Incarnation: 5, Features: 6, Software: "v1", Wall: time.Unix(7, 8)},
		region: "eu", wants: "other", code: WrongDisk, reason: "why"}
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readHello(bytes.NewReader(append(b, "rest"...)))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("%+v becomes %+v, %v", h, got, err)
	}
	for i := range b {
		if _, err := readHello(bytes.NewReader(b[:i])); err == nil {
			t.Errorf("a hello cut after %d bytes is taken", i)
		}
	}
	b[3] = 9
	var no *Refused
	if _, err := readHello(bytes.NewReader(b)); !errors.As(err, &no) || no.Code != Incompatible {
		t.Errorf("a later version: %v", err)
	}
	if _, err := readHello(strings.NewReader("CWN\x01\xff\xff")); !errors.Is(err, errHello) {
		t.Errorf("64 KiB of hello: %v", err)
	}
	if _, err := readHello(strings.NewReader("GET / HTTP/1.1")); !errors.Is(err, errHello) {
		t.Errorf("something else: %v", err)
	}
}

func FuzzHello(f *testing.F) {
	h := hello{Peer: Peer{Node: "n", Role: Core}, region: "r"}
	b, _ := h.encode()
	f.Add(b[6:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil {
			t.Fatal(err)
		}
		if x, err := decodeHello(again[6:]); err != nil || !x.Wall.Equal(h.Wall) {
			t.Errorf("%+v becomes %+v, %v", h, x, err)
		}
	})
}
