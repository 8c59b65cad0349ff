package routing

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
)

// shardedTable is the alternative that DESIGN.md decides against, kept so that its figures can be measured again: Go
// maps behind sharded read-write locks for exact filters, and one read-write lock for a trie of wildcards.
type shardedTable struct {
	shards [256]struct {
		sync.RWMutex
		m map[string][]int
	}
	wildMu sync.RWMutex
	wild   lockedLevel
}

type lockedLevel struct {
	own, rest []int
	plus      *lockedLevel
	kids      map[string]*lockedLevel
}

func newShardedTable() *shardedTable {
	t := new(shardedTable)
	for i := range t.shards {
		t.shards[i].m = map[string][]int{}
	}
	return t
}

func (t *shardedTable) Add(filter string, s int) bool {
	if wild(filter) {
		t.wildMu.Lock()
		defer t.wildMu.Unlock()
		list := t.wild.list(filter)
		if slices.Contains(*list, s) {
			return false
		}
		*list = append(*list, s)
		return true
	}
	shard := &t.shards[maphash.String(seed, filter)%256]
	shard.Lock()
	defer shard.Unlock()
	if slices.Contains(shard.m[filter], s) {
		return false
	}
	shard.m[filter] = append(shard.m[filter], s)
	return true
}

// Remove leaves empty trie nodes behind, which flatters it.
func (t *shardedTable) Remove(filter string, s int) bool {
	if wild(filter) {
		t.wildMu.Lock()
		defer t.wildMu.Unlock()
		list := t.wild.list(filter)
		i := slices.Index(*list, s)
		if i >= 0 {
			*list = slices.Delete(*list, i, i+1)
		}
		return i >= 0
	}
	shard := &t.shards[maphash.String(seed, filter)%256]
	shard.Lock()
	defer shard.Unlock()
	i := slices.Index(shard.m[filter], s)
	if i < 0 {
		return false
	}
	if shard.m[filter] = slices.Delete(shard.m[filter], i, i+1); len(shard.m[filter]) == 0 {
		delete(shard.m, filter)
	}
	return true
}

func (t *shardedTable) Match(topic string, dst []int) []int {
	shard := &t.shards[maphash.String(seed, topic)%256]
	shard.RLock()
	dst = append(dst, shard.m[topic]...)
	shard.RUnlock()
	t.wildMu.RLock()
	defer t.wildMu.RUnlock()
	return t.wild.match(topic, dst)
}

func (l *lockedLevel) list(filter string) *[]int {
	for {
		text, tail, more := strings.Cut(filter, "/")
		if text == "#" && !more {
			return &l.rest
		}
		if l = l.next(text); !more {
			return &l.own
		}
		filter = tail
	}
}

func (l *lockedLevel) next(text string) *lockedLevel {
	if text == "+" {
		if l.plus == nil {
			l.plus = new(lockedLevel)
		}
		return l.plus
	}
	if l.kids == nil {
		l.kids = map[string]*lockedLevel{}
	}
	if l.kids[text] == nil {
		l.kids[text] = new(lockedLevel)
	}
	return l.kids[text]
}

func (l *lockedLevel) match(topic string, dst []int) []int {
	dst = append(dst, l.rest...)
	text, tail, more := strings.Cut(topic, "/")
	for _, kid := range []*lockedLevel{l.kids[text], l.plus} {
		switch {
		case kid == nil:
		case more:
			dst = kid.match(tail, dst)
		default:
			dst = append(append(dst, kid.own...), kid.rest...)
		}
	}
	return dst
}
