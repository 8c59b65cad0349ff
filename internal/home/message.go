package home

import (
	"bytes"
	"slices"
	"strings"
)

// message is a body, stored once, with the number of references to it.
type message struct {
	Message
	source    *origin // where it was numbered first; nil means here
	sourceSeq Seq
	at        Time       // when it was numbered here; 0: not known
	will      *attachKey // of which connection it is the will
	kept      bool       // a standby may not store it
	place     *placing   // while it is given to who wants it
	refs      int32
	sealed    int32  // of refs, those of runs
	size      uint32 // topic, properties and payload
	stored    bool   // its body is in the store
	evicted   bool   // its body is only there
	pinned    bool   // retained: the body stays in memory
	shared    *Message
}

// origin is where a message was numbered, and of which class of its spool it came.
type origin struct {
	Source
	class string
}

// attachKey is a connection: a session from one attach to the next.
type attachKey struct {
	session SessionKey
	epoch   SessionEpoch
}

func newMessage(m Message) *message {
	return &message{Message: m, size: uint32(len(m.Topic) + len(m.Forward) + len(m.Payload))}
}

// own copies what still aliases a log buffer, so that a long-lived message does
// not keep a whole record in memory.
func (m *message) own() {
	m.Payload = bytes.Clone(m.Payload)
	m.Forward = bytes.Clone(m.Forward)
	m.Topic = strings.Clone(m.Topic)
	m.Trail = strings.Clone(m.Trail)
	m.shared = nil
}

// view returns a copy for readers outside the lock: eviction does not reach it.
func (m *message) view() *Message {
	if m.shared == nil {
		c := m.Message
		m.shared = &c
	}
	return m.shared
}

func (m *message) expired(now Time) bool { return m.Expires != 0 && m.Expires <= now }

// hold adds a reference.
func (s *State) hold(m *message) {
	if m.refs == 0 && !m.stored {
		s.changes.bodies = append(s.changes.bodies, m)
	}
	if m.refs == 0 && m.Withheld {
		s.lacks[m.Seq] = m
	}
	m.refs++
}

// release drops a reference; the last one drops the body.
func (s *State) release(m *message) {
	if m.refs--; m.refs > 0 {
		return
	}
	if m.Withheld {
		delete(s.lacks, m.Seq)
	}
	if m.stored {
		s.changes.deleteBody(m.Seq)
		if !m.evicted {
			s.resident -= int64(m.size)
		}
		m.stored = false
		m.drop()
	}
}

// drop lets go of a body that nobody reads any more.
func (m *message) drop() { m.Topic, m.Trail, m.Payload, m.Forward, m.shared = "", "", nil, nil, nil }

// bodyList orders flushed bodies by age for eviction. Released ones stay until
// they come up, or until they are as many as the others.
type bodyList struct {
	list  []*message
	head  int
	limit int // length at which released ones are looked for
}

func (l *bodyList) push(m *message) {
	l.list = append(l.list, m)
	if len(l.list)-l.head > l.limit {
		live := slices.DeleteFunc(l.list[l.head:], func(m *message) bool { return !m.stored || m.evicted })
		l.list, l.head, l.limit = append(l.list[:0:0], live...), 0, roomFor(len(live))
	}
}

// roomFor is how long a list that keeps what is not needed any more may grow
// before it is swept: often enough that n entries take the room of 2n, seldom
// enough that sweeping costs each entry a constant.
func roomFor(n int) int { return 2*n + 1024 }

func (l *bodyList) pop() *message {
	if l.head == len(l.list) {
		l.list, l.head = nil, 0
		return nil
	}
	m := l.list[l.head]
	l.list[l.head] = nil
	l.head++
	if l.head > 1024 && l.head > len(l.list)/2 {
		l.list = append(l.list[:0:0], l.list[l.head:]...)
		l.head = 0
	}
	return m
}

// Evict drops flushed bodies from memory, oldest first, until at most budget
// bytes of them remain, and all runs that were flushed; it returns how many bytes
// remain. Queue and Spool then say Evicted, and the body is read from the store
// under BodyKey. It is called once what Flush handed over is committed.
func (s *State) Evict(budget int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evictRuns()
	var kept []*message
	for s.resident > budget {
		m := s.bodies.pop()
		if m == nil {
			break
		}
		if m.pinned && m.refs > 0 {
			kept = append(kept, m)
			continue
		}
		if m.stored && !m.evicted {
			m.evicted = true
			m.drop()
			s.resident -= int64(m.size)
		}
	}
	s.bodies.list = append(s.bodies.list, kept...)
	return s.resident
}
