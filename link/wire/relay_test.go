package wire

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestRelayPath_Bounded(t *testing.T) {
	for _, c := range []struct {
		path RelayPath
		want string
		is   error
	}{
		{RelayPath{From: "eu", To: "us", Hops: MaxHops + 1}, "may pass 9 relays", ErrTooLarge},
		{RelayPath{From: strings.Repeat("x", maxName+1), To: "us"}, "region that asks has 256 bytes", ErrTooLarge},
		{RelayPath{From: "eu", To: strings.Repeat("x", 2*maxStreamHead)}, "opening has", ErrTooLarge},
	} {
		h := StreamHead{Kind: StreamRelay, Path: c.path}
		_, err := ReadStreamHead(bufio.NewReader(bytes.NewReader(h.Append(nil))))
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want one saying %q", err, c.want)
		}
	}
}

func TestRelayReason_EveryCodeHasAWord(t *testing.T) {
	if RelayReason(RelayThrough) != "through" || RelayReason(RelayFailed) != "failed" || RelayReason(99) != "code_99" {
		t.Errorf("%q, %q, %q", RelayReason(RelayThrough), RelayReason(RelayFailed), RelayReason(99))
	}
	if len(RelayReasons) != int(RelayFailed)+1 {
		t.Errorf("%d words, the last code is %d", len(RelayReasons), RelayFailed)
	}
}
