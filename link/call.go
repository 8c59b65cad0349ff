package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// MaxCall bounds the request and the answer of a call, in bytes.
const MaxCall = wire.MaxCall

const (
	// callTime is what a call may take, from the first byte of the request on.
	callTime = 5 * time.Second
	// maxCalls bounds the calls under way on a tunnel, in each direction.
	maxCalls = 16
)

// ErrNoTunnel is wrapped by Call without a tunnel to the region that knows calls.
var ErrNoTunnel = errors.New("there is no tunnel to the region now")

// CallError is what the other side said instead of an answer.
type CallError struct {
	Region string
	Text   string
}

func (e *CallError) Error() string { return fmt.Sprintf("region %q: %s", e.Region, e.Text) }

// Call asks a region something and waits for its answer, by any tunnel to it: first by
// one of this Manager's, then by one of its Endpoint's. It fails at once without a
// tunnel, with a *CallError if the other side says so, or when ctx ends or five seconds
// have passed. A call that failed may have been answered.
func (m *Manager) Call(ctx context.Context, region string, kind byte, request []byte) ([]byte, error) {
	if len(request) > MaxCall {
		return nil, fmt.Errorf("call region %q: a request of %d bytes, at most %d are allowed", region, len(request), MaxCall)
	}
	t := m.caller(region)
	if t == nil {
		return nil, fmt.Errorf("call region %q: %w", region, ErrNoTunnel)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callTime, fmt.Errorf("no answer within %s", callTime))
	defer cancel()
	answer, err := t.call(ctx, kind, request)
	if err != nil {
		return nil, fmt.Errorf("call region %q: %w", region, err)
	}
	return answer, nil
}

// caller is a tunnel for calls to a region, nil if there is none.
func (m *Manager) caller(region string) (found *tunnel) {
	for t := range m.ep.tunnels(region) {
		if t.agreed.Features&wire.FeatureHomes != 0 && (found == nil || t.p.m == m) {
			found = t
		}
	}
	return found
}

// call makes one call.
func (t *tunnel) call(ctx context.Context, kind byte, request []byte) ([]byte, error) {
	select {
	case t.calling <- struct{}{}:
		defer func() { <-t.calling }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s, err := t.c.open(ctx)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	defer s.reset() // tells the other side that its answer was read
	defer context.AfterFunc(ctx, s.reset)()
	head := wire.StreamHead{Kind: wire.StreamCall, Call: kind}
	if _, err := s.Write(wire.AppendRequest(head.Append(nil), request)); err != nil {
		return nil, orCause(ctx, err)
	}
	code, answer, err := wire.ReadReply(bufio.NewReaderSize(s, streamBuffer))
	switch {
	case err != nil:
		return nil, orCause(ctx, err)
	case code == wire.CallAnswered:
		return answer, nil
	}
	return nil, &CallError{t.remote.Region, string(answer)}
}

// orCause returns why ctx ended, if it did, otherwise err.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// serveCall answers one call of the peer. What goes wrong is that call's trouble.
func (t *tunnel) serveCall(ctx context.Context, s duplex, r *bufio.Reader, kind byte) {
	_ = s.SetDeadline(time.Now().Add(callTime))
	code, answer := t.answerCall(ctx, r, kind)
	if _, err := s.Write(wire.AppendReply(nil, code, answer)); err != nil {
		return
	}
	s.closeWrite()
	_, _ = io.Copy(io.Discard, r) // until it was read
}

func (t *tunnel) answerCall(ctx context.Context, r io.Reader, kind byte) (code byte, answer []byte) {
	fn := t.p.m.answerer()
	switch {
	case fn == nil:
		return wire.CallUnknown, []byte("nobody answers calls there")
	case !take(t.answering):
		return wire.CallBusy, fmt.Appendf(nil, "%d calls are under way already", maxCalls)
	}
	defer func() { <-t.answering }()
	request, err := wire.ReadRequest(r)
	if err != nil {
		return wire.CallFailed, []byte(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = group.Protect(func() (err error) {
		answer, err = fn(ctx, t.remote.Region, kind, request)
		return err
	})
	t.p.m.ep.panicked(err)
	switch {
	case err != nil:
		text := err.Error()
		return wire.CallFailed, []byte(text[:min(len(text), maxCallError)])
	case len(answer) > MaxCall:
		return wire.CallFailed, fmt.Appendf(nil, "the answer has %d bytes, at most %d are allowed", len(answer), MaxCall)
	}
	return wire.CallAnswered, answer
}

// maxCallError bounds what is said of a failure.
const maxCallError = 4 << 10

// answerer is what answers calls that come by the Manager's tunnels: a region is asked,
// and not one of its homes.
func (m *Manager) answerer() Answerer {
	if m.o.Answer != nil {
		return m.o.Answer
	}
	for _, other := range m.ep.all() {
		if other.o.Answer != nil {
			return other.o.Answer
		}
	}
	return nil
}
