package routing

import (
	"slices"
	"sync"
)

// Table says who wants a topic.
type Table[S comparable] struct {
	mu    sync.RWMutex
	exact map[string][]S
	wild  map[string][]S
	order []string
	pairs int
}

// NewTable returns an empty table.
func NewTable[S comparable]() *Table[S] {
	return &Table[S]{exact: map[string][]S{}, wild: map[string][]S{}}
}

func (t *Table[S]) side(filter string) map[string][]S {
	if wild(filter) {
		return t.wild
	}
	return t.exact
}

// Add records that s wants filter and reports whether it did not before.
func (t *Table[S]) Add(filter string, s S) (added bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.side(filter)
	if slices.Contains(m[filter], s) {
		return false
	}
	if len(m[filter]) == 0 && wild(filter) {
		t.order = append(t.order, filter)
	}
	m[filter] = append(m[filter], s)
	t.pairs++
	return true
}

// Remove takes back an Add and reports whether there was one.
func (t *Table[S]) Remove(filter string, s S) (removed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.side(filter)
	i := slices.Index(m[filter], s)
	if i < 0 {
		return false
	}
	m[filter] = slices.Delete(m[filter], i, i+1)
	if len(m[filter]) == 0 {
		delete(m, filter)
		if j := slices.Index(t.order, filter); j >= 0 {
			t.order = slices.Delete(t.order, j, j+1)
		}
	}
	t.pairs--
	return true
}

// Match appends to dst each subscriber once for each of its filters that match topic.
func (t *Table[S]) Match(topic string, dst []S) []S {
	t.mu.RLock()
	defer t.mu.RUnlock()
	dst = append(dst, t.exact[topic]...)
	for _, f := range t.order {
		if Matches(f, topic) {
			dst = append(dst, t.wild[f]...)
		}
	}
	return dst
}

// Len is the number of (filter, subscriber) pairs.
func (t *Table[S]) Len() int { t.mu.RLock(); defer t.mu.RUnlock(); return t.pairs }

// Filters is the number of distinct filters.
func (t *Table[S]) Filters() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.exact) + len(t.wild)
}
