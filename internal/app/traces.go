package app

import (
	"errors"

	"causeway/internal/admin"
	"causeway/internal/trace"
)

// StartTrace implements admin.Traces.
func (n node) StartTrace(t admin.TraceSpec, dryRun bool) (admin.TraceSpec, error) {
	s := trace.Spec{ID: t.ID, Kind: trace.Kind(t.Kind), Namespace: t.Namespace, Value: t.Value, Payload: t.Payload, Lines: t.Lines, Start: t.Start, Until: t.Until, By: t.By}
	if err := s.Check(); err != nil {
		return t, admin.BadRequest(err.Error(), "causeway ctl trace start --help")
	}
	t.Lines, t.Until = s.Lines, s.Until
	if dryRun {
		return t, nil
	}
	return t, traceProblem(n.a.traces.Start(s))
}

func traceProblem(err error) error {
	switch {
	case errors.Is(err, trace.ErrFull):
		return admin.Refuse("bound", err.Error(), "causeway ctl trace list")
	case errors.Is(err, trace.ErrNotFound):
		return admin.ErrNotFound
	}
	return err
}

// Traces implements admin.Traces.
func (n node) Traces() (list []admin.Trace) {
	for _, t := range n.a.traces.List() {
		list = append(list, n.traceOf(&t))
	}
	return list
}

func (n node) traceOf(t *trace.Status) admin.Trace {
	return admin.Trace{ID: t.ID, Kind: string(t.Kind), Namespace: t.Namespace, Value: t.Value, Payload: t.Payload, State: string(t.State), Start: t.Start.UTC(), Until: t.Until.UTC(), By: t.By,
		Nodes: []string{n.a.cfg.Node}, Lines: t.Kept, Keeps: t.Spec.Lines, Dropped: int64(t.Dropped)}
}

// TraceLines implements admin.Traces.
func (n node) TraceLines(id string, after uint64, max int) (admin.Trace, []admin.TraceLine, error) {
	t, lines, err := n.a.traces.After(id, after, max)
	if err != nil {
		return admin.Trace{}, nil, traceProblem(err)
	}
	var list []admin.TraceLine
	for _, l := range lines {
		list = append(list, admin.TraceLine{N: l.N, At: l.At.UTC(), Node: n.a.cfg.Node, Event: l.Event, Namespace: l.Namespace, ClientID: l.ClientID, Address: l.Address, Listener: l.Listener,
			Topic: l.Topic, QoS: int(l.QoS), PacketID: int(l.PacketID), Bytes: int64(l.Bytes), Peer: l.Peer, Reason: l.Reason, Payload: l.Payload})
	}
	return n.traceOf(&t), list, nil
}

// StopTrace implements admin.Traces.
func (n node) StopTrace(id string) error { return traceProblem(n.a.traces.Stop(id)) }
