package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// intake is what our copy, which stands by, is shipped, over all tunnels to the host.
type intake struct {
	lock chan struct{} // full while a stream is read: one at a time

	mu      sync.Mutex
	state   CopyState
	reason  string
	at      home.CopyPosition
	trouble string // why the last stream was given up
	stats   shipStats
}

func newIntake() *intake { return &intake{lock: make(chan struct{}, 1), state: CopyAway} }

func (k *intake) enter(state CopyState, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.reason = state, reason
}

func (k *intake) status(p *peer) CopyStatus {
	link := p.status()
	if t := p.current(); t != nil {
		link.Region = t.remote.Region
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	st := CopyStatus{Region: link.Region, Link: link, State: k.state, Reason: k.reason, At: k.at,
		Copies: k.stats.copies, CopiedBytes: k.stats.copied, Shipped: k.stats.records, Raw: k.stats.raw, Wire: k.stats.wire}
	if link.State != Up {
		st.State, st.Reason = CopyAway, link.Reason
	}
	return st
}

// How often the host is told what is applied here.
const (
	positionPause = 2 * time.Millisecond
	positionEvery = time.Second // it is looked at least: it may be another one, with fewer records
)

// tellPosition tells the host what is applied here, as it grows.
func (t *tunnel) tellPosition(ctx context.Context) error {
	standby, k := t.p.m.o.Standby, t.p.takes
	if standby == nil {
		return nil
	}
	k.enter(CopyIdle, "")
	defer k.enter(CopyAway, "")
	for {
		at, err := standby.Position()
		if errors.Is(err, ErrNeedsCopy) { // what it has counts for nothing
			at, err = home.CopyPosition{}, nil
		}
		if err == nil {
			k.mu.Lock()
			k.at = at
			k.mu.Unlock()
			t.out.shipAck(wire.ShipAck{At: wirePosition(at)})
			if group.Pause(ctx, positionPause) != nil {
				return nil
			}
			wait, cancel := context.WithTimeout(ctx, positionEvery)
			if (at == home.CopyPosition{}) {
				err = group.Pause(wait, shipLook) // there may be records that count for nothing
			} else {
				_, err = standby.WaitPosition(wait, at.Records)
			}
			if wait.Err() != nil {
				err = nil
			}
			cancel()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && group.Pause(ctx, shipLook) != nil {
			return nil
		}
	}
}

// taking is one stream of records, or of a copy.
type taking struct {
	t     *tunnel
	k     *intake
	nonce uint64
	sink  CopySink
}

// receiveShip takes what the host ships until the stream ends.
func (t *tunnel) receiveShip(ctx context.Context, r io.Reader, nonce uint64) error {
	k := t.p.takes
	select {
	case k.lock <- struct{}{}:
		defer func() { <-k.lock }()
	case <-ctx.Done():
		return nil
	}
	x := &taking{t: t, k: k, nonce: nonce}
	err := x.run(ctx, bufio.NewReaderSize(r, streamBuffer))
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, errStream), ctx.Err() != nil:
		return nil
	case isBreach(err):
		return err
	}
	t.p.log.Warn("what the host ships is not taken", "reason", err)
	k.refuse(err)
	return nil
}

// refuse notes why a stream was given up. The next one is told.
func (k *intake) refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.reason, k.trouble = CopyRefuses, err.Error(), err.Error()
}

func (x *taking) run(ctx context.Context, r *bufio.Reader) error {
	if err := x.begin(ctx); err != nil {
		return err
	}
	var d wire.ShipDecoder
	for {
		b, err := d.Read(r)
		if err != nil {
			return err
		}
		x.count(&b)
		if err := x.take(ctx, &b); err != nil {
			return err
		}
		if b.Kind == wire.ShipDone || b.Kind == wire.ShipDiverged {
			return nil
		}
	}
}

// A host that asks while our copy is being opened is answered once it is, and not refused: it
// would ask again only after refusedFor, and go on without its standby until then.
const (
	openWithin = 5 * time.Second
	openLook   = 20 * time.Millisecond
)

// begin says where our copy stands.
func (x *taking) begin(ctx context.Context) error {
	standby := x.t.p.m.o.Standby
	if standby == nil {
		x.t.out.shipAt(wire.ShipAt{Nonce: x.nonce, Refusal: "nothing is taken here"})
		return errStream
	}
	at, err := standby.Position()
	for end := time.Now().Add(openWithin); errors.Is(err, ErrOpening) && time.Now().Before(end); at, err = standby.Position() {
		if err := group.Pause(ctx, openLook); err != nil {
			return err
		}
	}
	x.k.mu.Lock()
	trouble := x.k.trouble
	x.k.state, x.k.reason, x.k.trouble = CopyBehind, "", ""
	x.k.mu.Unlock()
	answer := wire.ShipAt{Nonce: x.nonce, At: wirePosition(at), Broken: errors.Is(err, ErrNeedsCopy), Trouble: trouble}
	if err != nil && !answer.Broken {
		answer.Refusal = err.Error()
	}
	x.t.out.shipAt(answer)
	return nil
}

func (x *taking) count(b *wire.ShipBlock) {
	x.k.mu.Lock()
	defer x.k.mu.Unlock()
	x.k.stats.raw += uint64(b.Raw)
	x.k.stats.wire += uint64(b.Wire)
	x.k.stats.copied += uint64(len(b.Chunk))
	if n := len(b.Records); n > 0 {
		x.k.stats.records += uint64(n - 1)
	}
}

func (x *taking) take(ctx context.Context, b *wire.ShipBlock) error {
	standby := x.t.p.m.o.Standby
	switch b.Kind {
	case wire.ShipRecords:
		list := make([]home.Shipment, len(b.Records))
		for i, r := range b.Records {
			if list[i] = home.Shipment(r); len(r.Data) == 0 {
				list[i].Data = nil // an anchor
			}
		}
		if err := standby.Append(ctx, list); err != nil {
			return fmt.Errorf("take in records %d to %d: %w", list[0].N+1, list[len(list)-1].N, err)
		}
		return nil
	case wire.ShipOffer:
		return x.offered(ctx, homePosition(b.At))
	case wire.ShipDiverged:
		if b.At.Epoch.Host != x.t.remote.Region {
			return protocolError("region %q speaks of epoch %s as its own", x.t.remote.Region, homeEpoch(b.At.Epoch))
		}
		x.k.enter(CopyDiverged, "this copy has records of its own, which are to be reconciled and set aside")
		x.t.p.m.o.Diverged(x.t.p.m.id, homePosition(b.At))
		return nil
	}
	if x.sink == nil {
		return protocolError("a part of a copy that was not offered")
	}
	if b.Kind == wire.ShipChunk {
		if err := x.sink.Put(ctx, b.Chunk); err != nil {
			return fmt.Errorf("take in a copy of the home: %w", err)
		}
		return nil
	}
	if err := x.sink.Finish(ctx); err != nil {
		return fmt.Errorf("finish a copy of the home: %w", err)
	}
	return nil
}

// offered begins to take a copy. What our copy has and the host has not is never
// replaced.
func (x *taking) offered(ctx context.Context, at home.CopyPosition) error {
	standby := x.t.p.m.o.Standby
	if x.sink != nil {
		return protocolError("a copy is offered while one is taken")
	}
	own, err := standby.Position()
	if err != nil && !errors.Is(err, ErrNeedsCopy) {
		return fmt.Errorf("begin to take a copy of the home: %w", err)
	}
	if err == nil && !own.Behind(at) {
		return fmt.Errorf("the host offers a copy of %d records at epoch %s, and this one has %d at epoch %s",
			at.Records, at.Epoch, own.Records, own.Epoch)
	}
	sink, err := standby.Incoming(ctx, at, true)
	if err != nil {
		return fmt.Errorf("begin to take a copy of the home: %w", err)
	}
	x.sink = sink
	after := sink.After()
	x.k.enter(CopyCopying, "")
	x.k.mu.Lock()
	x.k.stats.copies++
	x.k.mu.Unlock()
	x.t.out.shipFrom(wire.ShipFrom{Nonce: x.nonce, Begun: after != nil, After: after})
	return nil
}
