package home

import (
	"cmp"
	"fmt"
)

// Apply changes the state by one record. outcome is called for every operation
// that was not skipped, in order. An error means that this replica cannot tell
// what the record does; it must stop, since skipping would make it differ.
func (s *State) Apply(r *Record, sink Sink, outcome func(e *Entry, i int, o Outcome)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != "" && r.Home != s.id {
		return fmt.Errorf("record of home %q in the log of home %q: %w", r.Home, s.id, ErrCorrupt)
	}
	s.sink = sink
	defer func() { s.sink = nil }()
	r, err := s.beginRecord(r)
	if err != nil {
		return err
	}
	s.last = s.chain
	if s.handed == "" && r.promotion() == nil {
		s.advance(r.Time)
	}
	s.link(0, &Outcome{Seq: Seq(s.time)})
	for i := range r.Entries {
		e := &r.Entries[i]
		s.entry = i
		if err := s.applyEntry(r, e, outcome); err != nil {
			return err
		}
	}
	if s.handed == "" {
		s.buryTombstones()
	}
	if err := s.endRecord(r); err != nil {
		return err
	}
	s.records++
	s.link(0, &Outcome{})
	s.chains.note(s.records, s.chain)
	s.changes.meta = true
	return nil
}

// applyEntry checks the proposer's stream: known entries are skipped, and what
// follows a gap is refused without a trace; the proposer sends it again behind
// what was missing. [A2]
func (s *State) applyEntry(r *Record, e *Entry, outcome func(e *Entry, i int, o Outcome)) error {
	p := s.proposers[e.Owner.Node]
	switch {
	case r.promotion() != nil: // by who never spoke to the home
	case s.handed != "" && (p == nil || e.Owner.Incarnation != p.incarnation):
		return nil
	case p != nil && e.Owner.Incarnation < p.incarnation:
		return nil // a dead run's late word
	case p != nil && e.Owner.Incarnation == p.incarnation:
		if e.N <= p.n || p.down {
			return nil
		}
		if e.N != p.n+1 {
			return nil
		}
		p.n = e.N
	default: // a new incarnation speaks with its first entry, which registers it
		if e.N != 1 {
			return nil
		}
		old := Owner{e.Owner.Node, 0}
		if p != nil {
			old.Incarnation = p.incarnation
		}
		s.proposers[e.Owner.Node] = &proposer{incarnation: e.Owner.Incarnation, n: 1}
		s.note(effectRun, uint64(e.Owner.Incarnation), 1)
		if p != nil && !p.down {
			s.ownerGone(old, EndNodeDown)
		}
	}
	for i, op := range e.Ops {
		s.opAt = i
		o, err := s.applyOp(r, e.Owner, op)
		if err != nil {
			return err
		}
		s.link(op.Kind(), &o)
		o.Record = s.records + 1
		outcome(e, i, o)
	}
	return nil
}

func (s *State) applyOp(r *Record, owner Owner, op Op) (Outcome, error) {
	if s.id == "" && op.Kind() != KindGenesis {
		return Outcome{}, fmt.Errorf("operation kind %d before genesis: %w", op.Kind(), ErrCorrupt)
	}
	if need := LevelOf(op.Kind()); s.id != "" && need > s.level.Load() {
		return Outcome{}, fmt.Errorf("operation kind %d needs feature level %d, the home is at %d: %w", op.Kind(), need, s.level.Load(), ErrUnknown)
	}
	if s.handed != "" && op.Kind() != KindPromote {
		return Outcome{Code: CodeVoid}, nil
	}
	switch op := op.(type) {
	case *Genesis:
		return s.genesis(r, op), nil
	case *NodeUp:
		return Outcome{}, nil // its entry registered the incarnation
	case *NodeDown:
		return s.nodeDown(op), nil
	case *Attach:
		return s.attach(owner, op), nil
	case *Detach:
		return s.detach(op), nil
	case *Subscribe:
		return s.subscribe(op), nil
	case *Unsubscribe:
		return s.unsubscribe(op), nil
	case *Publish:
		return s.publishOp(op), nil
	case *Release:
		return s.releaseInbound(op), nil
	case *Ack:
		return s.ack(op), nil
	case *Skip:
		return s.skip(op), nil
	case *Owe:
		return s.owe(op), nil
	case *EndSession:
		return s.end(op), nil
	case *Configure:
		return s.configure(op), nil
	case *SetPeer:
		return s.setPeer(op), nil
	case *SetPolicy:
		return s.setPolicy(op), nil
	case *PausePeer:
		return s.pausePeer(op), nil
	case *DropSpooled:
		return s.dropSpooled(op), nil
	case *ForgetPeer:
		return s.forgetPeer(op), nil
	case *Interest:
		return s.interestOp(op), nil
	case *Frame:
		return s.frame(op), nil
	case *Trim:
		return s.trim(op), nil
	case *SpoolLimit:
		return s.setSpoolLimit(op), nil
	case *Canary:
		return s.canary(op), nil
	case *Import:
		return s.importOp(op), nil
	case *Received:
		return s.receivedOp(op), nil
	case *Raise:
		return s.raise(op)
	case *SetShared:
		return s.setShared(op), nil
	case *Rank:
		return s.setRank(op), nil
	case *Adopt:
		return s.adopt(op), nil
	case *Move:
		return s.move(op), nil
	case *Directory:
		return s.directoryOp(op), nil
	case *Tick:
		s.ageSpools()
		s.ageDebts()
		s.ageRestores()
		return Outcome{}, nil
	}
	return s.applyLate(r, op)
}

// applyLate applies the operations of feature level 2 and above.
func (s *State) applyLate(r *Record, op Op) (Outcome, error) {
	switch op := op.(type) {
	case *SetDocument:
		return s.setDocument(op), nil
	case *SetQuotas:
		return s.setQuotas(op), nil
	case *Restore:
		return s.restore(op), nil
	}
	return s.applyFailover(r, op)
}

// applyFailover applies what is about copies of the home.
func (s *State) applyFailover(r *Record, op Op) (Outcome, error) {
	switch op := op.(type) {
	case *Promote:
		if r.promotion() != op {
			return Outcome{Code: CodeVoid}, nil
		}
		return s.promote(op, r.Time), nil
	case *Hand:
		return s.hand(op), nil
	case *Promise:
		return s.promise(op), nil
	case *SetTakeover:
		return s.setTakeover(op), nil
	case *Reconcile:
		return s.reconcile(op), nil
	case *Repay:
		return s.repay(op), nil
	}
	return Outcome{}, fmt.Errorf("operation %T: %w", op, ErrUnknown)
}

func (s *State) genesis(r *Record, op *Genesis) Outcome {
	if s.id != "" {
		return Outcome{Code: CodeVoid}
	}
	s.id = op.Home
	s.time = max(s.time, r.Time)
	s.level.Store(1)
	s.lineage = []Span{{Epoch: op.Epoch, First: 1}}
	return Outcome{}
}

func (s *State) nodeDown(op *NodeDown) Outcome {
	if !s.alive(op.Owner) || op.Until != 0 && s.time > op.Until {
		return Outcome{Code: CodeVoid}
	}
	s.proposers[op.Owner.Node].down = true
	s.note(effectRun, uint64(op.Owner.Incarnation), 0)
	s.ownerGone(op.Owner, EndNodeDown)
	return Outcome{}
}

func (s *State) configure(op *Configure) Outcome {
	s.config.Store(op)
	s.note(effectConfigured, op.Revision, uint64(len(op.Acks)))
	s.markRestricted()
	return Outcome{}
}

func compareIDs(a, b ID) int { return cmp.Compare(a, b) }
