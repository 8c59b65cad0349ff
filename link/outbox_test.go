package link

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"causeway/link/wire"
)

// What waits for a peer that reads nothing is bounded, whatever epochs it makes up.
func TestOutbox_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		o := newOutbox()
		ended := make(chan error, 1)
		go func() { ended <- o.watch(ctx) }()
		say := func(epochs uint64) {
			for n := range epochs {
				source := wire.Source{Home: "eu", Epoch: wire.Epoch{Number: n}}
				o.ack(wire.Ack{Source: source, Class: "a"})
				o.cursor(wire.Cursor{Source: source, Class: "a"})
			}
			synctest.Wait()
		}
		for range 10 { // the same again replaces what waits
			say(maxUnsaid / 2)
		}
		select {
		case err := <-ended:
			t.Fatalf("a peer within the bound was given up: %v", err)
		default:
		}
		say(maxUnsaid/2 + 1)
		select {
		case err := <-ended:
			if !errors.Is(err, errProtocol) {
				t.Errorf("it is given up because of %v", err)
			}
		default:
			t.Errorf("%d answers wait, and nobody minds", len(o.acks)+len(o.cursors))
		}
	})
}
