package link

import (
	"context"
	"fmt"
	"io"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// maxPadding bounds a stream of padding.
const maxPadding = 64 << 20

// ask sends a question and waits for its answer. One at a time.
func (t *tunnel) ask(ctx context.Context, q wire.Question) (wire.Answer, error) {
	q.Nonce = t.nonce()
	t.out.question(q)
	return t.answered(ctx, q.Nonce)
}

// nonce tells the answers of a tunnel apart; owned by who holds p.testing.
func (t *tunnel) nonce() uint64 {
	t.asking++
	return t.asking
}

func (t *tunnel) answered(ctx context.Context, nonce uint64) (wire.Answer, error) {
	for {
		select {
		case a := <-t.answers:
			if a.Nonce == nonce {
				return a, nil
			}
		case <-t.ended:
			return wire.Answer{}, fmt.Errorf("the tunnel ended: %s", t.p.whyDown())
		case <-ctx.Done():
			return wire.Answer{}, context.Cause(ctx)
		}
	}
}

func (t *tunnel) heard(a *wire.Answer) {
	select {
	case <-t.answers:
	default:
	}
	select {
	case t.answers <- *a:
	default:
	}
}

// answer answers a question of the peer. A view takes a while, so it keeps no
// acknowledgement waiting; while one is made another is not.
func (t *tunnel) answer(ctx context.Context, g *group.Group, q *wire.Question) {
	if !q.View || t.purpose != wire.PurposeLink {
		t.out.answer(wire.Answer{Nonce: q.Nonce})
		return
	}
	if !t.viewing.CompareAndSwap(false, true) {
		return
	}
	g.Do(func(context.Context) error {
		defer t.viewing.Store(false)
		t.out.answer(wire.Answer{Nonce: q.Nonce, View: t.view(q).encode()})
		return nil
	})
}

// pad sends bytes that the peer throws away and returns how long it took until the
// peer had them.
func (t *tunnel) pad(ctx context.Context, n int64) (time.Duration, error) {
	w, err := t.c.send(ctx)
	if err != nil {
		return 0, err
	}
	defer w.reset()
	defer context.AfterFunc(ctx, w.reset)() // a peer that reads nothing keeps nobody waiting
	head := wire.StreamHead{Kind: wire.StreamPadding, Nonce: t.nonce(), Bytes: uint64(n)}
	began := time.Now()
	if _, err := w.Write(head.Append(nil)); err != nil {
		return 0, err
	}
	block := make([]byte, 64<<10)
	for left := n; left > 0 && ctx.Err() == nil; {
		k, err := w.Write(block[:min(left, int64(len(block)))])
		if left -= int64(k); err != nil {
			return 0, err
		}
	}
	_, err = t.answered(ctx, head.Nonce)
	return time.Since(began), err
}

// discard reads padding.
func (t *tunnel) discard(r io.Reader, head wire.StreamHead) error {
	if head.Bytes > maxPadding {
		return nil // refused
	}
	n, err := io.CopyN(io.Discard, r, int64(head.Bytes))
	if err == nil && n == int64(head.Bytes) {
		t.out.answer(wire.Answer{Nonce: head.Nonce})
	}
	return err
}
