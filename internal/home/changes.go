package home

import (
	"encoding/binary"
	"strings"

	"causeway/routing"
)

// changes is what Apply changed since the last Flush. The log makes it durable;
// the store only has to catch up before the log is truncated, so what came and
// went in between never reaches it.
type changes struct {
	meta     bool
	shared   bool // what is declared of global groups
	failover bool
	bodies   []*message
	written  int        // of bodies
	sessions []*session // each once, it says dirty
	subs     map[subID]struct{}
	refs     []refID  // stored ones whose state changed; each once, it says dirty
	groups   []*Group // each once, it says dirty
	peers    map[*peer]struct{}
	runs     []runID // sealed, not written
	wants    map[wantID]struct{}
	retain   map[retainID]struct{}
	cursors  map[cursorKey]struct{}
	fired    map[attachKey]struct{}
	notes    map[uint64]struct{}
	docs     map[documentID]struct{}
	wishes   map[SessionKey]struct{}
	dirs     map[dirID]struct{}
	restores map[string]struct{}
	restored map[restoredID]struct{}
	deleted  keyList
}

// keyList holds keys one behind the other, since a busy home deletes as many as
// it delivers.
type keyList struct {
	bytes []byte
	ends  []int
}

// end closes the key that was appended to bytes.
func (l *keyList) end() { l.ends = append(l.ends, len(l.bytes)) }

// last returns the last key, nil if there is none; drop takes it off.
func (l *keyList) last() []byte {
	n := len(l.ends)
	switch n {
	case 0:
		return nil
	case 1:
		return l.bytes[:l.ends[0]]
	}
	return l.bytes[l.ends[n-2]:l.ends[n-1]]
}

func (l *keyList) drop() {
	l.bytes = l.bytes[:len(l.bytes)-len(l.last())]
	l.ends = l.ends[:len(l.ends)-1]
}

type subID struct {
	session *session
	filter  string
}

type refID struct {
	session *session
	num     uint64
}

type runID struct {
	peer  *peer
	spool *spool
	run   *run
}

type wantID struct {
	peer   *peer
	filter routing.Filter
}

type retainID struct {
	space *space
	topic string
}

func (c *changes) reset() {
	*c = changes{
		bodies:   room(c.bodies),
		sessions: room(c.sessions),
		subs:     map[subID]struct{}{},
		refs:     room(c.refs),
		groups:   room(c.groups),
		peers:    map[*peer]struct{}{},
		runs:     room(c.runs),
		wants:    map[wantID]struct{}{},
		retain:   map[retainID]struct{}{},
		cursors:  map[cursorKey]struct{}{},
		fired:    map[attachKey]struct{}{},
		notes:    map[uint64]struct{}{},
		docs:     map[documentID]struct{}{},
		wishes:   map[SessionKey]struct{}{},
		dirs:     map[dirID]struct{}{},
		restores: map[string]struct{}{},
		restored: map[restoredID]struct{}{},
		deleted:  keyList{room(c.deleted.bytes), room(c.deleted.ends)},
	}
}

// maxRoom is how many entries of space a list of changes keeps from one flush to
// the next.
const maxRoom = 1 << 16

// room returns the emptied list, for its space. What was in it is cleared as it
// is written.
func room[T any](list []T) []T {
	if cap(list) > maxRoom {
		return nil
	}
	return list[:0]
}

func (c *changes) session(x *session) {
	if !x.dirty {
		x.dirty = true
		c.sessions = append(c.sessions, x)
	}
}

func (c *changes) sub(x *session, filter string) { c.subs[subID{x, filter}] = struct{}{} }

func (c *changes) ref(x *session, r *ref) {
	if r.stored && !r.dirty {
		r.dirty = true
		c.refs = append(c.refs, refID{x, r.num})
	}
}

func (c *changes) group(g *Group) {
	if !g.dirty {
		g.dirty = true
		c.groups = append(c.groups, g)
	}
}

func (c *changes) peer(p *peer)                       { c.peers[p] = struct{}{} }
func (c *changes) interest(p *peer, f routing.Filter) { c.wants[wantID{p, f}] = struct{}{} }
func (c *changes) retained(sp *space, topic string)   { c.retain[retainID{sp, topic}] = struct{}{} }
func (c *changes) wish(k SessionKey)                  { c.wishes[k] = struct{}{} }
func (c *changes) cursor(k cursorKey)                 { c.cursors[k] = struct{}{} }
func (c *changes) document(id documentID)             { c.docs[id] = struct{}{} }

func (c *changes) delete(key []byte) {
	c.deleted.bytes = append(c.deleted.bytes, key...)
	c.deleted.end()
}

func (c *changes) deleteBody(seq Seq) {
	c.deleted.bytes = appendBodyKey(c.deleted.bytes, seq)
	c.deleted.end()
}

func (c *changes) deleteRef(session, num uint64) {
	c.deleted.bytes = appendRefKey(c.deleted.bytes, session, num)
	c.deleted.end()
}

// Keys of the store. The first byte is the table; tables are loaded in its
// order, so what is referred to comes before what refers to it.
const (
	tableMeta     = 0x01
	tableBody     = 0x02
	tableSession  = 0x03
	tableSub      = 0x04
	tableGroup    = 0x05
	tableGroupRef = 0x06
	tableRef      = 0x07
	tableRetained = 0x08
	tablePeer     = 0x09
	tableWant     = 0x0a
	tableSpool    = 0x0b
	tableCursor   = 0x0c
	tableRun      = 0x0d
	tableRunValue = 0x0e // not loaded, so nothing that is comes behind it
)

var metaKey = []byte{tableMeta}

// sharedKey comes before the groups it is about.
var sharedKey = []byte{tableMeta, 's'}

var failoverKey = []byte{tableMeta, 'f'}

// takenInKey is where it is kept how far copies were taken in that were named.
var takenInKey = []byte{tableMeta, 't'}

// firedKey is where it is kept that a will was published.
func firedKey(k attachKey) []byte {
	b := append([]byte{tableMeta, 'w'}, k.session.Namespace+"\x00"+k.session.ClientID+"\x00"...)
	return binary.BigEndian.AppendUint64(b, uint64(k.epoch))
}

// BodyKey is where Flush puts the body of a message.
func BodyKey(seq Seq) []byte { return appendBodyKey(nil, seq) }

func appendBodyKey(b []byte, seq Seq) []byte {
	return binary.BigEndian.AppendUint64(append(b, tableBody), uint64(seq))
}

func sessionKey(k SessionKey) []byte { return joinKey(tableSession, k.Namespace, k.ClientID) }

func subKey(session uint64, filter string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{tableSub}, session), filter...)
}

func appendRefKey(b []byte, session, num uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(b, tableRef), session), num)
}

func groupRecordKey(k groupKey) []byte { return joinKey(tableGroup, k.space, k.name, k.filter) }

func groupRefKey(k groupKey, seq Seq) []byte {
	return binary.BigEndian.AppendUint64(joinKey(tableGroupRef, k.space, k.name, k.filter, ""), uint64(seq))
}

func retainedKey(sp *space, topic string) []byte { return joinKey(tableRetained, sp.name, topic) }

func peerKey(id ID) []byte { return joinKey(tablePeer, string(id)) }

func wantKey(id ID, f routing.Filter) []byte {
	return joinKey(tableWant, string(id), f.Namespace, f.Filter)
}

func spoolKey(id ID, class string, seq Seq) []byte {
	return binary.BigEndian.AppendUint64(joinKey(tableSpool, string(id), class, ""), uint64(seq))
}

func cursorRecordKey(k cursorKey) []byte {
	b := joinKey(tableCursor, string(k.source.Home), k.class, k.source.Epoch.Host, "")
	return binary.BigEndian.AppendUint64(b, k.source.Epoch.Number)
}

// joinKey separates its parts by a zero byte, which no MQTT string holds.
func joinKey(table byte, parts ...string) []byte {
	return append([]byte{table}, strings.Join(parts, "\x00")...)
}

// splitKey undoes joinKey; ok is false unless there are n parts.
func splitKey(key []byte, n int) (parts []string, ok bool) {
	parts = strings.SplitN(string(key[1:]), "\x00", n)
	return parts, len(parts) == n
}
