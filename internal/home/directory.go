package home

import (
	"encoding/binary"
	"maps"
	"slices"
)

// A home knows which sessions its peers have: the directory. It is a set of hashes, since
// names of millions of devices would take several times the room; who finds a device in it
// asks that home. Of each peer it is part of the state, so every node has it and it
// outlives outages. What a home tells of itself is made up from its sessions.

// dirParts is into how many parts a directory is cut by hash. Parts are compared by
// digest, and only what differs is sent.
const dirParts = 256

// Directory changes what is known of a peer's sessions. The highest session epoch that the
// peer gave is taken over, so epochs of one device grow in the order in which regions could
// know of each other: of two sessions the later one has the higher epoch.
type Directory struct {
	Peer   ID
	High   SessionEpoch
	Reset  []byte // parts that are replaced by what is added
	Add    []uint64
	Remove []uint64
	Whole  bool // from here on nothing is missing
}

// Kind of the operation.
func (*Directory) Kind() Kind { return KindDirectory }

func (op *Directory) append(b []byte) []byte {
	b = binary.AppendUvarint(appendString(b, string(op.Peer)), uint64(op.High))
	b = append(appendBytes(b, op.Reset), flag(op.Whole, 1))
	return appendHashes(appendHashes(b, op.Add), op.Remove)
}

func (r *reader) directory() Op {
	op := &Directory{Peer: ID(r.string()), High: SessionEpoch(r.uvarint()), Reset: r.bytes()}
	op.Whole = r.byte() != 0
	op.Add, op.Remove = r.hashes(), r.hashes()
	return op
}

func appendHashes(b []byte, list []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, h := range list {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

func (r *reader) hashes() []uint64 {
	n := r.count(8)
	if n == 0 {
		return nil
	}
	list := make([]uint64, 0, n)
	for range n {
		if b := r.take(8); b != nil {
			list = append(list, binary.BigEndian.Uint64(b))
		}
	}
	return list
}

// Hash stands for a session in directories.
func (k SessionKey) Hash() uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for _, part := range [...]string{k.Namespace, "\x00", k.ClientID} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * prime
		}
	}
	return mix(h)
}

func partOf(hash uint64) int { return int(hash >> 56) }

// DirectoryDigest is a sum over each part of a directory.
type DirectoryDigest [dirParts]uint64

func (d *DirectoryDigest) add(hash uint64)    { d[partOf(hash)] += mix(hash) }
func (d *DirectoryDigest) remove(hash uint64) { d[partOf(hash)] -= mix(hash) }

// Differing lists the parts in which two directories are not the same.
func (d *DirectoryDigest) Differing(o *DirectoryDigest) (parts []byte) {
	for i := range d {
		if d[i] != o[i] {
			parts = append(parts, byte(i))
		}
	}
	return parts
}

// hashSet is a set of hashes in parts.
type hashSet [dirParts]map[uint64]struct{}

func (h *hashSet) has(hash uint64) bool {
	_, ok := h[partOf(hash)][hash]
	return ok
}

func (h *hashSet) add(hash uint64) bool {
	p := &h[partOf(hash)]
	if *p == nil {
		*p = map[uint64]struct{}{}
	}
	if _, known := (*p)[hash]; known {
		return false
	}
	(*p)[hash] = struct{}{}
	return true
}

func (h *hashSet) remove(hash uint64) bool {
	p := h[partOf(hash)]
	_, known := p[hash]
	delete(p, hash)
	return known
}

// peerDirectory is what a peer has.
type peerDirectory struct {
	whole  bool
	high   SessionEpoch
	size   int
	set    hashSet
	digest DirectoryDigest
}

// ownDirectory is what this home tells of itself: derived, and only where it is asked for.
type ownDirectory struct {
	instance uint64 // tells it from that of another run, or node
	keys     [dirParts]map[uint64]SessionKey
	digest   DirectoryDigest
	journal  []dirChange // the last changes
	from     uint64      // position of journal[0]
	suspects map[SessionKey]struct{}
}

type dirChange struct {
	hash  uint64
	added bool
	to    ID // the home that it moved to, if it did
}

// dirJournal is how many changes a peer may be behind before parts are compared.
const dirJournal = 1 << 15

// EnableDirectory keeps up what this home tells of its sessions. instance is a number that
// no other run of it had.
func (s *State) EnableDirectory(instance uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.directory = &ownDirectory{instance: instance, from: 1, suspects: map[SessionKey]struct{}{}}
	for _, x := range s.sessions {
		if x.listed() {
			s.list(x)
		}
	}
	s.directory.journal, s.directory.from = nil, 1
}

// listed says that a session is one of this home's for others.
func (x *session) listed() bool {
	a, l := x.arriving(), x.leaves()
	return x.key.Namespace != LinkSpace && (a == nil || a.complete) && (l == nil || !l.taken) && !x.half()
}

func (s *State) list(x *session) {
	d := s.directory
	if d == nil || !x.listed() {
		return
	}
	h := x.key.Hash()
	p := &d.keys[partOf(h)]
	if *p == nil {
		*p = map[uint64]SessionKey{}
	}
	if _, known := (*p)[h]; known {
		return
	}
	(*p)[h] = x.key
	d.digest.add(h)
	d.note(h, true, "")
	for _, peer := range s.directories {
		if peer.set.has(h) {
			d.suspects[x.key] = struct{}{}
		}
	}
}

func (s *State) unlist(x *session) {
	d := s.directory
	if d == nil {
		return
	}
	h := x.key.Hash()
	p := d.keys[partOf(h)]
	if k, known := p[h]; !known || k != x.key {
		return
	}
	delete(p, h)
	delete(d.suspects, x.key)
	d.digest.remove(h)
	to := ID("")
	if l := x.leaves(); l != nil && l.taken {
		to = l.to
	}
	d.note(h, false, to)
}

func (d *ownDirectory) note(hash uint64, added bool, to ID) {
	if len(d.journal) == 2*dirJournal {
		d.journal = append(d.journal[:0:0], d.journal[dirJournal:]...)
		d.from += dirJournal
	}
	d.journal = append(d.journal, dirChange{hash, added, to})
}

func (s *State) directoryOp(op *Directory) Outcome {
	if s.peers[op.Peer] == nil {
		return Outcome{Code: CodeUnknown}
	}
	p := s.directoryOf(op.Peer)
	for _, part := range op.Reset {
		for h := range p.set[part] {
			s.dirRemove(op.Peer, p, h)
		}
	}
	for _, h := range op.Remove {
		s.dirRemove(op.Peer, p, h)
	}
	for _, h := range op.Add {
		if uint64(p.size) >= s.config.Load().limits().Sessions {
			return Outcome{Code: CodeQuota}
		}
		s.dirAdd(op.Peer, p, h)
	}
	p.whole = p.whole || op.Whole
	p.high = max(p.high, op.High)
	s.epoch = max(s.epoch, op.High)
	s.note(effectRoamed, uint64(p.size), uint64(p.high))
	s.changes.directory(op.Peer, nil)
	return Outcome{Count: p.size}
}

func (s *State) directoryOf(peer ID) *peerDirectory {
	p := s.directories[peer]
	if p == nil {
		p = &peerDirectory{}
		s.directories[peer] = p
		s.changes.directory(peer, nil)
	}
	return p
}

func (s *State) dirAdd(peer ID, p *peerDirectory, h uint64) {
	if !p.set.add(h) {
		return
	}
	p.size++
	p.digest.add(h)
	s.changes.directory(peer, &h)
	if d := s.directory; d != nil {
		if k, own := d.keys[partOf(h)][h]; own {
			d.suspects[k] = struct{}{}
		}
	}
}

func (s *State) dirRemove(peer ID, p *peerDirectory, h uint64) {
	if p.set.remove(h) {
		p.size--
		p.digest.remove(h)
		s.changes.directory(peer, &h)
	}
}

// forgetDirectory is part of forgetting a peer.
func (s *State) forgetDirectory(peer ID) {
	p := s.directories[peer]
	if p == nil {
		return
	}
	delete(s.directories, peer)
	for i := range p.set {
		for h := range p.set[i] {
			s.changes.directory(peer, &h)
		}
	}
	s.changes.directory(peer, nil)
}

// Listed returns the peers that have a session, as far as is known, by name.
func (s *State) Listed(k SessionKey) (peers []ID) {
	h := k.Hash()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, p := range s.directories {
		if p.set.has(h) {
			peers = append(peers, id)
		}
	}
	slices.Sort(peers)
	return peers
}

// DirectoryInfo describes what is known of a peer's sessions.
type DirectoryInfo struct {
	Peer     ID
	Sessions int
	Whole    bool // nothing was missing when it was heard last
	High     SessionEpoch
}

// Directories describes what is known of all peers' sessions, by name.
func (s *State) Directories() (list []DirectoryInfo) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, p := range s.directories {
		list = append(list, DirectoryInfo{id, p.size, p.whole, p.high})
	}
	slices.SortFunc(list, func(a, b DirectoryInfo) int { return compareIDs(a.Peer, b.Peer) })
	return list
}

// PeerDirectory returns the digest of what is known of a peer's sessions.
func (s *State) PeerDirectory(peer ID) (d DirectoryDigest, whole bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.directories[peer]; p != nil {
		return p.digest, p.whole
	}
	return d, false
}

// DirectoryNews is what changed of the sessions of this home from one position to another.
type DirectoryNews struct {
	Instance uint64
	Position uint64
	High     SessionEpoch
	Add      []uint64
	Remove   []uint64
	Moved    map[ID][]uint64 // of Remove, where it is now
	Known    bool            // otherwise the position asked about is not known: parts are to be compared
	Digest   DirectoryDigest
}

// OwnDirectory says what changed since a position; ok is false if this home tells nothing.
// The digest is of the position that it returns.
func (s *State) OwnDirectory(instance, since uint64) (n DirectoryNews, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.directory
	if d == nil {
		return n, false
	}
	n = DirectoryNews{Instance: d.instance, Position: d.from + uint64(len(d.journal)), High: s.epoch, Digest: d.digest}
	if n.Known = instance == d.instance && since >= d.from && since <= n.Position; !n.Known {
		return n, true
	}
	last := map[uint64]dirChange{}
	for _, c := range d.journal[since-d.from:] {
		last[c.hash] = c
	}
	for h, c := range last {
		switch {
		case c.added:
			n.Add = append(n.Add, h)
			continue
		case c.to != "" && n.Moved == nil:
			n.Moved = map[ID][]uint64{}
			fallthrough
		case c.to != "":
			n.Moved[c.to] = append(n.Moved[c.to], h)
		}
		n.Remove = append(n.Remove, h)
	}
	for _, list := range n.Moved {
		slices.Sort(list)
	}
	slices.Sort(n.Add)
	slices.Sort(n.Remove)
	return n, true
}

// DirectoryParts returns what is in some parts of this home's directory.
func (s *State) DirectoryParts(parts []byte) (list []uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.directory == nil {
		return nil
	}
	for _, p := range parts {
		for h := range s.directory.keys[p] {
			list = append(list, h)
		}
	}
	slices.Sort(list)
	return list
}

// Suspects lists at most max sessions of this home that a peer has, too, as far as is known,
// by key.
func (s *State) Suspects(max int) (list []SessionKey) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.directory == nil {
		return nil
	}
	for k := range s.directory.suspects {
		if list = append(list, k); len(list) == max {
			break
		}
	}
	slices.SortFunc(list, compareKeys)
	return list
}

// Unsuspect takes a session off the suspects once that was looked into.
func (s *State) Unsuspect(k SessionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.directory != nil {
		delete(s.directory.suspects, k)
	}
}

// dirID is a hash of a peer's directory, or, without one, what is kept of the peer beside.
type dirID struct {
	peer ID
	hash uint64
	one  bool
}

func (c *changes) directory(peer ID, hash *uint64) {
	if hash == nil {
		c.dirs[dirID{peer: peer}] = struct{}{}
		return
	}
	c.dirs[dirID{peer, *hash, true}] = struct{}{}
}

func (id dirID) key() []byte {
	b := append([]byte{tableMeta, 'r'}, id.peer+"\x00"...)
	if id.one {
		b = binary.BigEndian.AppendUint64(b, id.hash)
	}
	return b
}

func (w *writer) directory(s *State, id dirID) {
	p := s.directories[id.peer]
	switch {
	case p == nil || id.one && !p.set.has(id.hash):
		w.delete(id.key())
	case id.one:
		w.emit(id.key(), w.buf[:0])
	default:
		w.emit(id.key(), binary.AppendUvarint(append(w.buf[:0], flag(p.whole, 1)), uint64(p.high)))
	}
}

func (s *State) digestDirectories(w *writer) {
	for _, id := range slices.Sorted(maps.Keys(s.directories)) {
		p := s.directories[id]
		w.directory(s, dirID{peer: id})
		for i := range p.set {
			for h := range p.set[i] {
				w.put(dirID{id, h, true}.key(), nil)
			}
		}
	}
}

// directory reads a hash, or what is beside; the latter comes first.
func (l *loader) directory(key []byte, r *reader) {
	at := slices.Index(key, 0)
	if at < 0 {
		r.fail("key of %d bytes", len(key))
		return
	}
	id := ID(key[2:at])
	p := l.s.directories[id]
	if p == nil {
		p = &peerDirectory{}
		l.s.directories[id] = p
	}
	if len(key) == at+1 {
		p.whole, p.high = r.byte() != 0, SessionEpoch(r.uvarint())
		return
	}
	if h := tailNumber(key, r); r.err == nil && p.set.add(h) {
		p.size++
		p.digest.add(h)
	}
}
