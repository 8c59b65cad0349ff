package home

import "encoding/binary"

// SetQuotas replaces the quotas of namespaces: what the home keeps for one of them must not keep the others from being
// served. Namespaces that are not named have none.
type SetQuotas struct{ Quotas []NamespaceQuota }

// NamespaceQuota bounds what the home keeps of a namespace; 0 is no bound.
type NamespaceQuota struct {
	Namespace string
	// Queued is bytes in the queues of sessions. Beyond it a queue that holds something takes nothing more; one that is
	// empty does, so that devices which keep up notice nothing.
	Queued   uint64
	Retained uint64 // retained messages
}

// Kind of the operation.
func (*SetQuotas) Kind() Kind { return KindSetQuotas }

func (op *SetQuotas) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(op.Quotas)))
	for _, q := range op.Quotas {
		b = binary.AppendUvarint(binary.AppendUvarint(appendString(b, q.Namespace), q.Queued), q.Retained)
	}
	return b
}

func (r *reader) setQuotas() Op {
	op := &SetQuotas{}
	for range r.count(3) {
		op.Quotas = append(op.Quotas, NamespaceQuota{r.string(), r.uvarint(), r.uvarint()})
	}
	return op
}

func (s *State) setQuotas(op *SetQuotas) Outcome {
	s.takeQuotas(op)
	s.note(effectQuotas, uint64(len(op.Quotas)), 0)
	for _, q := range op.Quotas {
		s.note(effectQuotas, q.Queued, q.Retained)
	}
	return Outcome{}
}

func (s *State) takeQuotas(op *SetQuotas) {
	s.quotas = nil
	for _, q := range op.Quotas {
		if s.quotas == nil {
			s.quotas = map[string]NamespaceQuota{}
		}
		s.quotas[q.Namespace] = q
	}
	s.quotaOp = *op
}

// Quotas returns the quotas in force; they must not be changed.
func (s *State) Quotas() *SetQuotas {
	s.mu.RLock()
	defer s.mu.RUnlock()
	op := s.quotaOp
	return &op
}

// Queued is how many bytes wait in the queues of a namespace's sessions.
func (s *State) Queued(namespace string) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.counts.bySpace[namespace]
}

// overQuota says that a queue must not take a message since its namespace has as much as it may.
func (s *State) overQuota(q *queue, m *message) bool {
	limit := s.quotas[m.Namespace].Queued
	return limit > 0 && q.live > 0 && s.counts.bySpace[m.Namespace]+uint64(m.size) > limit
}

// retainedMost is how many messages may be retained of a namespace.
func (s *State) retainedMost(ns string) int {
	most := s.config.Load().limits().Retained
	if q := s.quotas[ns].Retained; q > 0 {
		most = min(most, q)
	}
	return int(most)
}
