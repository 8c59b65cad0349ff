package devices

import (
	"container/list"
	"sync"
	"time"
)

// Key names a device.
type Key struct{ Namespace, ClientID string }

// Kind is what became of a connection.
type Kind uint8

// The kinds.
const (
	Connected Kind = iota + 1
	Ended
	Refused
)

// String is the kind as the API has it.
func (k Kind) String() string { return [...]string{"", "connected", "ended", "refused"}[k] }

// Event is one thing that became of a device's connection.
type Event struct {
	At       time.Time
	Kind     Kind
	Reason   string // of an end or a refusal: the label of its counter
	Detail   string // in words
	Listener string
	Remote   string
	Username string
	Protocol string
	Present  bool          // of a connect: it found its session
	TookOver bool          // of a connect: from another connection, here or at another node
	Lasted   time.Duration // of an end
	In, Out  int64         // bytes, of an end
}

// Log keeps the last events of devices: of each so many, of all together so many. When there are too many, those of the
// device go that was heard of longest ago.
type Log struct {
	each, all int

	mu      sync.Mutex
	n       int // events
	devices map[Key]*list.Element
	recent  *list.List // of *entry, the one heard of last in front
}

type entry struct {
	key    Key
	events []Event // oldest first
}

// NewLog makes one.
func NewLog(each, all int) *Log {
	return &Log{each: each, all: all, devices: map[Key]*list.Element{}, recent: list.New()}
}

// Add notes an event.
func (l *Log) Add(k Key, e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.devices[k]
	if at == nil {
		at = l.recent.PushFront(&entry{key: k})
		l.devices[k] = at
	} else {
		l.recent.MoveToFront(at)
	}
	x := at.Value.(*entry)
	if len(x.events) >= l.each {
		copy(x.events, x.events[1:])
		x.events[len(x.events)-1] = e
		return
	}
	x.events = append(x.events, e)
	for l.n++; l.n > l.all; {
		last := l.recent.Back()
		old := last.Value.(*entry)
		l.n -= len(old.events)
		delete(l.devices, old.key)
		l.recent.Remove(last)
	}
}

// Of returns what is known of a device, oldest first.
func (l *Log) Of(k Key) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.devices[k]
	if at == nil {
		return nil
	}
	return append([]Event(nil), at.Value.(*entry).events...)
}

// Events is how many are kept.
func (l *Log) Events() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Forget drops what is known of a device, and returns how many events that was; with keep it only counts.
func (l *Log) Forget(k Key, keep bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.devices[k]
	if at == nil {
		return 0
	}
	n := len(at.Value.(*entry).events)
	if !keep {
		l.n -= n
		delete(l.devices, k)
		l.recent.Remove(at)
	}
	return n
}
