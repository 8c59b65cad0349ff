package sibling

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"syscall"
	"testing"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

func TestFrames(t *testing.T) {
	m := &home.Message{Namespace: "n", Topic: "t/u", Payload: []byte("p"), Forward: []byte{1, 2}, Expires: 99, QoS: 1, Retain: true}
	for _, f := range []frame{
		{kind: kindDeliver, message: m},
		{kind: kindDirect, session: car, epoch: 4, qos: 1, retain: true, subIDs: []uint32{1, 300}, message: m},
		{kind: kindForward, peer: "us", claim: home.Claim{Live: true}, message: m},
		{kind: kindClaimed, peer: "us", claim: home.Claim{Groups: []string{"g/a/#"}}, message: m},
		{kind: kindYield, number: 5, session: car, epoch: 6},
		{kind: kindApplied, number: 7, index: 8},
		{kind: kindAnswer, number: 9},
	} {
		b := f.append(nil)
		got, err := readFrame(bytes.NewReader(b), 1<<20)
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v becomes %+v, %v", f, got, err)
		}
		if _, err := readFrame(bytes.NewReader(b), len(b)-5); !errors.Is(err, errFrame) {
			t.Errorf("a frame above the limit: %v", err)
		}
	}
}

// Every frame that is cut off, and every one with something behind it, is refused.
func TestFrames_NotWhole(t *testing.T) {
	for _, f := range []frame{
		{kind: kindDirect, session: car, epoch: 4, subIDs: []uint32{1}, message: &home.Message{Topic: "t"}},
		{kind: kindYield, number: 5, session: car, epoch: 6},
		{kind: kindApplied, number: 7, index: 8},
		{kind: kindAnswer, number: 9},
	} {
		b := f.append(nil)[4:]
		for i := range b {
			if _, err := decodeFrame(b[:i]); !errors.Is(err, errFrame) {
				t.Errorf("%d of %d bytes of kind %d: %v", i, len(b), f.kind, err)
			}
		}
		if _, err := decodeFrame(append(b, 0)); f.message == nil && !errors.Is(err, errFrame) {
			t.Errorf("a byte more than kind %d has: %v", f.kind, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	m := &home.Message{Namespace: "n", Topic: "t", Payload: []byte("p"), Forward: []byte{1}}
	for _, seed := range []frame{
		{kind: kindDeliver, message: m},
		{kind: kindDirect, session: car, epoch: 4, qos: 1, subIDs: []uint32{1, 300}, message: m},
		{kind: kindForward, peer: "us", claim: home.Claim{Live: true}, message: m},
		{kind: kindClaimed, peer: "us", claim: home.Claim{Groups: []string{"g/a/#"}}, message: m},
		{kind: kindYield, number: 5, session: car, epoch: 6},
		{kind: kindApplied, number: 7, index: 8},
		{kind: kindAnswer, number: 9},
	} {
		f.Add(seed.append(nil)[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := decodeFrame(b)
		if err != nil {
			return
		}
		if n := len(x.append(nil)); x.message != nil && n > x.room() {
			t.Errorf("%d bytes, and there is room for %d", n, x.room())
		}
		again, err := decodeFrame(x.append(nil)[4:])
		if err != nil || !reflect.DeepEqual(x, again) {
			t.Errorf("%+v becomes %+v, %v", x, again, err)
		}
	})
}

func TestDead(t *testing.T) {
	if !cluster.Dead(fmt.Errorf("dial: %w", os.NewSyscallError("connect", syscall.ECONNREFUSED))) || cluster.Dead(os.ErrDeadlineExceeded) {
		t.Error("only a refused connection says that a process is gone")
	}
}
