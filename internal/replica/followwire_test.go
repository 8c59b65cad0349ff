package replica

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"causeway/internal/home"
	"causeway/internal/store"
)

var someFrames = []followFrame{
	{kind: frameCopy, at: store.Position{Index: 300, Term: 7}},
	{kind: frameKeys, data: appendPair(appendPair(nil, []byte("k"), []byte("v")), []byte("l"), nil)},
	{kind: frameWhole, number: 2},
	{kind: frameRecord, at: store.Position{Index: 301, Term: 7}, data: []byte("record")},
	{kind: framePassed, at: store.Position{Index: 302, Term: 8}},
	{kind: framePulse, at: store.Position{Index: 302}, text: "eu-1"},
	{kind: frameBehind, text: "why"},
	{kind: frameNot, text: "why not"},
	{kind: frameBody, data: []byte("body")},
	{kind: frameGone, at: store.Position{Index: 9}},
}

func TestFollowFrames(t *testing.T) {
	var b []byte
	for i := range someFrames {
		b = appendFrame(b, &someFrames[i])
	}
	in, buf := bytes.NewReader(b), []byte(nil)
	for i := range someFrames {
		if f, err := readFrame(in, &buf); err != nil || !reflect.DeepEqual(f, someFrames[i]) {
			t.Errorf("%+v becomes %+v, %v", someFrames[i], f, err)
		}
	}
	if _, err := readFrame(in, &buf); err != io.EOF {
		t.Errorf("behind the last: %v", err)
	}
	for name, s := range map[string]string{"empty": "\x00\x00\x00\x00\x00", "longer than any record": "\xff\xff\xff\xff\x04", "unknown": "\x00\x00\x00\x01\x63",
		"no position": "\x00\x00\x00\x01\x04", "more than a position": "\x00\x00\x00\x04\x05\x01\x01\x01"} {
		if _, err := readFrame(strings.NewReader(s), &buf); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := eachPair([]byte{9, 'k'}, nil); !errors.Is(err, errFrame) {
		t.Errorf("a key longer than its frame: %v", err)
	}
}

func TestFollowRequest(t *testing.T) {
	q := request{what: wantsLog, home: "eu", at: store.Position{Index: 5, Term: 6}}
	b := q.append(nil)
	if got, err := readRequestOf(bytes.NewReader(b)); err != nil || got != q {
		t.Errorf("%+v becomes %+v, %v", q, got, err)
	}
	for i := range b {
		if _, err := readRequestOf(bytes.NewReader(b[:i])); err == nil {
			t.Errorf("a request cut after %d bytes is taken", i)
		}
	}
	long := request{home: home.ID(strings.Repeat("x", maxHomeName))}
	if got, err := readRequestOf(bytes.NewReader(long.append(nil))); err != nil || got != long {
		t.Errorf("the longest name: %+v, %v", got, err)
	}
}

func FuzzFollowFrame(f *testing.F) {
	for i := range someFrames {
		f.Add(appendFrame(nil, &someFrames[i])[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := decodeFrame(b)
		if err != nil {
			return
		}
		if frame.kind == frameKeys {
			_ = eachPair(frame.data, func(_, _ []byte) error { return nil })
		}
		again, err := decodeFrame(appendFrame(nil, &frame)[4:])
		if err != nil || again.kind != frame.kind || again.at != frame.at || again.text != frame.text || again.number != frame.number || !bytes.Equal(again.data, frame.data) {
			t.Errorf("%+v becomes %+v, %v", frame, again, err)
		}
	})
}
