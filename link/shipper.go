package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

const (
	shipBytes = 256 << 10 // of records in a block, about
	partBytes = 256 << 10 // of a copy in a block, about
	shipLeast = 50 * time.Millisecond
	shipMost  = 5 * time.Second
	// shipPatience is for how long a standby may have more than we do: a new leader
	// applies last what it has.
	shipPatience = 10 * time.Second
)

// Why a stream of records ends.
var (
	errNotFed    = errors.New("another standby is shipped to")
	errNeedsCopy = errors.New("the standby needs a copy")
	errBack      = errors.New("the standby has less than it had")
	errDiverged  = errors.New("the standby has records that are not the host's")
)

// sourceError is trouble with our own copy, and not with the tunnel.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// shipper ships our home on one tunnel.
type shipper struct {
	t *tunnel
	s *shipment
	w sendStream
	e *wire.ShipEncoder

	stay  func() bool // the stream goes on although another standby is shipped to
	whole bool        // the standby was given a copy
}

// runShipper ships whenever the standby is to be shipped to.
func (t *tunnel) runShipper(ctx context.Context) error {
	s := t.p.ship
	s.begin()
	defer s.end()
	wait := group.Backoff{Least: shipLeast, Most: shipMost}
	for ctx.Err() == nil {
		fed := s.feeding()
		if fed == nil || t.p.m.o.Source == nil {
			select {
			case <-s.turned:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		err := t.shipWhile(ctx, fed, s)
		var own *sourceError
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil, errors.Is(err, errNotFed):
			continue
		case errors.As(err, &own):
			s.enter(CopyRefuses, err.Error())
		case errors.Is(err, errDiverged), errors.Is(err, errBack):
		case errors.Is(err, errStream):
			s.failed()
		default:
			return err
		}
		if time.Since(began) > shipMost {
			wait.Reset()
		}
		if group.Pause(ctx, wait.Wait()) != nil {
			return nil
		}
	}
	return nil
}

// shipWhile opens a stream and ships on it until fed ends.
func (t *tunnel) shipWhile(ctx, fed context.Context, s *shipment) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stay := context.AfterFunc(fed, func() { cancel(errNotFed) })
	defer stay()
	w, err := t.c.send(ctx)
	if err != nil {
		return orCause(ctx, err)
	}
	defer w.reset()
	go func() { // whatever we wait for
		select {
		case <-w.done():
			cancel(errStream)
		case <-s.back:
			cancel(errBack)
		case <-ctx.Done():
		}
	}()
	h := &shipper{t: t, s: s, w: w, stay: stay}
	if h.e, err = wire.NewShipEncoder(wire.Supported(wire.CodecZstd, t.agreed.Features)); err != nil {
		return err
	}
	err = h.stream(ctx)
	switch {
	case errors.Is(err, errDiverged):
		return err
	case h.whole:
		return nil
	}
	if err = orCause(ctx, err); errors.Is(err, errNotFed) {
		s.idle()
	}
	return err
}

// stream asks the standby where it stands and gives it what it lacks.
func (h *shipper) stream(ctx context.Context) error {
	h.s.forget()
	h.s.nonce++
	head := wire.StreamHead{Kind: wire.StreamShip, Nonce: h.s.nonce}
	if _, err := h.w.Write(head.Append(nil)); err != nil {
		return err
	}
	at, err := await(ctx, h.s.answers, func(a wire.ShipAt) bool { return a.Nonce == h.s.nonce })
	if err != nil {
		return err
	}
	if at.Refusal != "" {
		h.s.enter(CopyRefuses, at.Refusal)
		return errStream
	}
	from := homePosition(at.At)
	err = errNeedsCopy
	if !at.Broken {
		h.s.standsAt(from)
		err = h.compare(ctx, from)
	}
	if err == nil {
		h.s.enter(CopyBehind, at.Trouble)
		err = h.records(ctx, from)
	}
	switch {
	case errors.Is(err, errNeedsCopy):
		return h.copy(ctx)
	case errors.Is(err, errDiverged):
		return h.diverged(ctx, from)
	}
	return err
}

// await waits for the other side's answer to a stream.
func await[T any](ctx context.Context, c <-chan T, ours func(T) bool) (T, error) {
	timer := time.NewTimer(cursorWait)
	defer timer.Stop()
	for {
		select {
		case v := <-c:
			if ours(v) {
				return v, nil
			}
		case <-timer.C:
			var none T
			return none, fmt.Errorf("the standby does not say where it stands: %w", errStream)
		case <-ctx.Done():
			var none T
			return none, context.Cause(ctx)
		}
	}
}

// compare says whether what the standby has is the beginning of what we have. Where that
// is not known it is found out with the next records.
func (h *shipper) compare(ctx context.Context, from home.CopyPosition) error {
	st := h.t.st
	if from == (home.CopyPosition{}) {
		return errNeedsCopy
	}
	for began := time.Now(); ; {
		known, ended := was(st.Lineage(), from)
		switch behind := !known || from.Records > st.Position().Records; {
		case ended, behind && time.Since(began) > shipPatience:
			return errDiverged
		case !behind:
			return h.sameChain(from)
		}
		if err := group.Pause(ctx, shipLook); err != nil {
			return err
		}
	}
}

// sameChain says whether we have the same at a place, as far as that is known.
func (h *shipper) sameChain(from home.CopyPosition) error {
	st := h.t.st
	if chain, ok := st.ChainAt(from.Records); ok && from.Chain != 0 && chain != 0 && chain != from.Chain {
		return errDiverged
	}
	return nil
}

// was says whether the epoch of a position is one of the home's, and whether that had
// ended before.
func was(lineage []home.Span, at home.CopyPosition) (known, ended bool) {
	i := slices.IndexFunc(lineage, func(s home.Span) bool { return s.Epoch == at.Epoch })
	return i >= 0, i >= 0 && i < len(lineage)-1 && at.Records > lineage[i+1].Record
}

// records sends what follows a position, until the stream ends.
func (h *shipper) records(ctx context.Context, from home.CopyPosition) error {
	source, lineage := h.t.p.m.o.Source, h.t.st.Lineage
	for {
		for h.s.full(h.t.p.m.o.SendWindow) {
			select {
			case <-h.s.moved:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		list, err := source.Tail(ctx, h.s.region, from, shipBytes)
		switch {
		case errors.Is(err, ErrTooOld):
			return errNeedsCopy
		case errors.Is(err, ErrOtherChain):
			return errDiverged
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return &sourceError{err}
		case len(list) < 2:
			return &sourceError{errors.New("the log gave no records")}
		}
		if err := h.send(list); err != nil {
			return err
		}
		last := list[len(list)-1]
		from = home.CopyPosition{Epoch: epochAt(lineage(), last.N), Records: last.N, Chain: last.Chain}
	}
}

// send writes records in blocks.
func (h *shipper) send(list []home.Shipment) error {
	records := make([]wire.ShipRecord, len(list))
	for i, r := range list {
		records[i] = wire.ShipRecord(r)
	}
	b, raw, err := h.e.Records(records)
	if err != nil {
		return &sourceError{err}
	}
	h.s.sent(list[len(list)-1].N, len(list)-1, raw, len(b))
	_, err = h.w.Write(b)
	return err
}

// epochAt is the epoch of a record.
func epochAt(lineage []home.Span, record uint64) (e home.Epoch) {
	for _, s := range lineage {
		if s.Record <= record {
			e = s.Epoch
		}
	}
	return e
}

// copy gives the standby a copy. One that was interrupted goes on, if the standby has a
// part of it. It returns when the standby has taken all of it, or ended the stream.
func (h *shipper) copy(ctx context.Context) (err error) {
	c := h.s.take()
	if c == nil {
		if c, err = h.t.p.m.o.Source.Copy(ctx, h.s.region); err != nil {
			return &sourceError{fmt.Errorf("begin a copy of the home: %w", err)}
		}
		h.s.began()
	}
	defer func() {
		if h.whole {
			c.Close()
			return
		}
		h.s.keep(c)
	}()
	h.s.enter(CopyCopying, "")
	if _, err := h.w.Write(h.e.Mark(wire.ShipOffer, wirePosition(c.Position()))); err != nil {
		return err
	}
	from, err := await(ctx, h.s.froms, func(f wire.ShipFrom) bool { return f.Nonce == h.s.nonce })
	if err != nil {
		return err
	}
	var after []byte
	if from.Begun {
		after = from.After
	}
	if err := h.chunks(c, after); err != nil {
		return err
	}
	if _, err := h.w.Write(h.e.Mark(wire.ShipDone, wirePosition(c.Position()))); err != nil {
		return err
	}
	<-ctx.Done() // the standby ends the stream when it has made it its own, or has failed
	h.whole = errors.Is(context.Cause(ctx), errStream)
	return context.Cause(ctx)
}

func (h *shipper) chunks(c Copier, after []byte) error {
	for {
		chunk, last, err := c.Next(after, partBytes)
		if err != nil {
			return &sourceError{fmt.Errorf("read a copy of the home: %w", err)}
		}
		if len(chunk) == 0 {
			return nil
		}
		b, err := h.e.Chunk(chunk)
		if err != nil {
			return &sourceError{err}
		}
		if _, err := h.w.Write(b); err != nil {
			return err
		}
		h.s.copied(len(chunk), len(b))
		after = last
	}
}

// began notes a new copy.
func (s *shipment) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.copies++
	s.stats.copied = 0
}

// copied notes a part of one.
func (s *shipment) copied(raw, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.copied += uint64(raw)
	s.stats.raw += uint64(raw)
	s.stats.wire += uint64(size)
}

// diverged tells the standby that it has records of its own.
func (h *shipper) diverged(ctx context.Context, from home.CopyPosition) error {
	h.stay() // to be heard
	ours := h.t.st.Position()
	h.s.enter(CopyDiverged, fmt.Sprintf("it has %d records at epoch %s, of which some are not the host's, which has %d at epoch %s: they are to be reconciled, and set aside",
		from.Records, from.Epoch, ours.Records, ours.Epoch))
	if _, err := h.w.Write(h.e.Mark(wire.ShipDiverged, wirePosition(ours))); err != nil {
		return err
	}
	<-ctx.Done() // it ends the stream when it has heard that
	return errDiverged
}

func wirePosition(p home.CopyPosition) wire.Position {
	return wire.Position{Epoch: wireEpoch(p.Epoch), Records: p.Records, Chain: p.Chain}
}

func homePosition(p wire.Position) home.CopyPosition {
	return home.CopyPosition{Epoch: homeEpoch(p.Epoch), Records: p.Records, Chain: p.Chain}
}
