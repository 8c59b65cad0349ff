package broker

import (
	"hash/maphash"
	"sync"

	"causeway/internal/home"
)

// sessions finds the connection that stands for a session on this node. The home's log decides which one that is; this
// is where its word is looked up.
//
// A session's first deliveries may come before the outcome of the Attach that asked for them: both are heard while one
// record is applied, and the epoch is in the outcome. So a connection says beforehand that it attaches, and what comes
// for an epoch nobody here has yet is kept until the outcomes are in.
type sessions struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu        sync.RWMutex
	live      map[home.SessionKey]*conn
	attaching map[home.SessionKey]*attaching
}

// attaching is the Attach operations in flight for one session.
type attaching struct {
	n       int
	early   []early
	yielded home.SessionEpoch // the session was given up at lower epochs
}

// early is what was heard for an epoch before its outcome.
type early struct {
	epoch home.SessionEpoch
	item  item
	ended home.EndReason // 0: it is a delivery
}

const maxEarly = 10_000 // deliveries that one record can bring for sessions it attached; more are dropped

func newSessions() *sessions {
	t := &sessions{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].live = map[home.SessionKey]*conn{}
		t.shards[i].attaching = map[home.SessionKey]*attaching{}
	}
	return t
}

func (t *sessions) shard(k home.SessionKey) *shard {
	h := maphash.String(t.seed, k.ClientID) ^ maphash.String(t.seed, k.Namespace)
	return &t.shards[h%uint64(len(t.shards))]
}

// get returns the connection of a session, or nil.
func (t *sessions) get(k home.SessionKey) *conn {
	sh := t.shard(k)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.live[k]
}

// expect announces an Attach. Each call is followed by one of attached or forget.
func (t *sessions) expect(k home.SessionKey) {
	sh := t.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.attaching[k]
	if a == nil {
		a = &attaching{}
		sh.attaching[k] = a
	}
	a.n++
}

// forget takes back an expect whose Attach failed or is not wanted any more.
func (t *sessions) forget(k home.SessionKey) {
	sh := t.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.settle(k)
}

func (sh *shard) settle(k home.SessionKey) {
	if a := sh.attaching[k]; a.n > 1 {
		a.n--
	} else {
		delete(sh.attaching, k)
	}
}

// attached makes c, whose epoch is set, the connection of its session. It returns the one it replaces, if that has not
// gone yet, and whether the home has ended the new epoch already.
func (t *sessions) attached(c *conn) (before *conn, ended home.EndReason) {
	sh := t.shard(c.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, e := range sh.attaching[c.key].early {
		switch {
		case e.epoch != c.epoch:
		case e.ended != 0:
			ended = e.ended
		default:
			c.deliver(e.item)
		}
	}
	if c.epoch < sh.attaching[c.key].yielded {
		ended = home.EndTakenOver
	}
	sh.settle(c.key)
	before = sh.live[c.key]
	c.before = before
	sh.live[c.key] = c
	return before, ended
}

// yield returns the connection that has a session at a lower epoch, and sees to it that none gets it that is attaching.
func (t *sessions) yield(k home.SessionKey, epoch home.SessionEpoch) *conn {
	sh := t.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a := sh.attaching[k]; a != nil {
		a.yielded = max(a.yielded, epoch)
	}
	if c := sh.live[k]; c != nil && c.epoch < epoch {
		return c
	}
	return nil
}

// remove forgets a connection that ended, unless another has its place.
func (t *sessions) remove(c *conn) {
	sh := t.shard(c.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.live[c.key] == c {
		delete(sh.live, c.key)
	}
}

// find returns the connection that has the session at this epoch. If there is none, but one may still turn out to, it
// keeps e for it; otherwise late is true.
func (t *sessions) find(k home.SessionKey, e early) (c *conn, late bool) {
	sh := t.shard(k)
	sh.mu.RLock()
	c = sh.live[k]
	if c != nil && c.epoch == e.epoch {
		sh.mu.RUnlock()
		return c, false
	}
	waiting := sh.attaching[k] != nil
	sh.mu.RUnlock()
	if !waiting {
		return nil, true
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.attaching[k]
	if a == nil || len(a.early) >= maxEarly {
		return nil, true
	}
	a.early = append(a.early, e)
	return nil, false
}

// each calls f for every connection, outside of all locks.
func (t *sessions) each(f func(*conn)) {
	var cs []*conn
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.RLock()
		cs = cs[:0]
		for _, c := range sh.live {
			cs = append(cs, c)
		}
		sh.mu.RUnlock()
		for _, c := range cs {
			f(c)
		}
	}
}
