package group

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The first error ends all, and is what the group ended with, however the others end.
func TestGroup_TheFirstErrorEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := errors.New("first")
		g := New(t.Context())
		g.Do(func(ctx context.Context) error {
			g.Do(func(ctx context.Context) error { // by another that runs
				<-ctx.Done()
				return errors.New("later")
			})
			time.Sleep(time.Second)
			return first
		})
		g.Do(func(ctx context.Context) error {
			if err := Pause(ctx, time.Hour); !errors.Is(err, first) {
				t.Errorf("the pause ended with %v", err)
			}
			return nil
		})
		if err := g.Wait(); !errors.Is(err, first) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestGroup_APanicIsAnError(t *testing.T) {
	g := New(t.Context())
	g.Do(func(context.Context) error { panic("bytes of a peer") })
	if err := g.Wait(); err == nil || !strings.Contains(err.Error(), "bytes of a peer") {
		t.Errorf("ended with %v", err)
	}
}

// A group of which nothing failed ends with its parent.
func TestGroup_EndsWithItsParent(t *testing.T) {
	why := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	g := New(ctx)
	g.Do(func(ctx context.Context) error { <-ctx.Done(); return nil })
	cancel(why)
	if err := g.Wait(); !errors.Is(err, why) {
		t.Errorf("ended with %v", err)
	}
	if err := Pause(ctx, 0); !errors.Is(err, why) {
		t.Errorf("a pause of nothing: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Least: 100 * time.Millisecond, Most: time.Second}
	for _, full := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		full *= time.Millisecond
		if d := b.Wait(); d < full/2 || d > full {
			t.Errorf("waits %v of %v", d, full)
		}
	}
	if b.Reset(); b.Wait() > 100*time.Millisecond {
		t.Error("goes on after a reset")
	}
}

func TestWake_NeverBlocks(t *testing.T) {
	c := make(chan struct{}, 1)
	Wake(c)
	Wake(c)
	<-c
	if len(c) != 0 {
		t.Error("signalled twice")
	}
}
