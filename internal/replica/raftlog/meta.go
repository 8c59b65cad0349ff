package raftlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/hashicorp/raft-wal/types"

	"causeway/internal/store"
)

const (
	metaName = "meta"
	// The meta file: magic, version, length and CRC32C of the body (big endian), body in JSON. It is
	// replaced whole at each rotation, truncation, term and vote.
	metaMagic   = "CWRLMETA"
	metaVersion = 1
	metaHeader  = len(metaMagic) + 12
	// maxMeta bounds what is read: 16 MiB is some 50,000 segments.
	maxMeta = 16 << 20
	// Raft keeps three short values.
	maxStableKey, maxStableValue = 256, 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meta is the content of the meta file.
type meta struct {
	NextSegmentID uint64              `json:"next_segment_id"`
	Segments      []types.SegmentInfo `json:"segments"`
	Stable        []stableValue       `json:"stable"`
}

type stableValue struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

func (m meta) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode raft log meta: %w", err)
	}
	if len(body) > maxMeta-metaHeader {
		return nil, fmt.Errorf("encode raft log meta: %d bytes for %d segments is more than %d", len(body), len(m.Segments), maxMeta)
	}
	out := append(make([]byte, 0, metaHeader+len(body)), metaMagic...)
	out = binary.BigEndian.AppendUint32(out, metaVersion)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body, castagnoli))
	return append(out, body...), nil
}

func decodeMeta(data []byte) (meta, error) {
	if len(data) < metaHeader || string(data[:len(metaMagic)]) != metaMagic {
		return meta{}, fmt.Errorf("%w: meta file has no header", ErrDamaged)
	}
	h := data[len(metaMagic):]
	version, length, sum := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint32(h[8:])
	if version != metaVersion {
		return meta{}, fmt.Errorf("meta file has version %d, this program reads %d: start the newer program", version, metaVersion)
	}
	body := data[metaHeader:]
	if uint64(len(body)) != uint64(length) || crc32.Checksum(body, castagnoli) != sum {
		return meta{}, fmt.Errorf("%w: meta file fails its checksum", ErrDamaged)
	}
	var m meta
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return meta{}, fmt.Errorf("%w: meta file: %w", ErrDamaged, err)
	}
	return m, nil
}

// metaStore is raft-wal's MetaStore on one small file. Each update is durable when it returns.
type metaStore struct {
	fs  store.FS
	dir string
	brk *breaker

	mu     sync.Mutex
	cur    meta // guarded by mu; what the file holds
	closed bool // guarded by mu
}

var _ types.MetaStore = (*metaStore)(nil)

// load reads the file. found is false if there is none.
func (m *metaStore) load() (found bool, err error) {
	data, err := store.ReadFile(m.fs, m.fs.PathJoin(m.dir, metaName), maxMeta)
	if store.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// A process killed between rename and directory sync leaves a vote that reads back and is not
	// durable. Raft answers by it without writing it again, so it must be durable now. The same goes
	// for the name of a segment that was killed between its sync and the directory's.
	if err := store.SyncDir(m.fs, m.dir); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cur, err = decodeMeta(data)
	return true, err
}

// Load implements types.MetaStore. The file was read by load.
func (m *metaStore) Load(string) (types.PersistentState, error) { return m.state(), nil }

func (m *metaStore) state() types.PersistentState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return types.PersistentState{
		NextSegmentID: m.cur.NextSegmentID,
		Segments:      append([]types.SegmentInfo(nil), m.cur.Segments...),
	}
}

// CommitState implements types.MetaStore.
func (m *metaStore) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.cur
	next.NextSegmentID, next.Segments = s.NextSegmentID, s.Segments
	return m.replaceLocked(next)
}

// GetStable implements types.MetaStore: nil if there is no such key.
func (m *metaStore) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.cur.Stable {
		if bytes.Equal(v.Key, key) {
			return bytes.Clone(v.Value), nil
		}
	}
	return nil, nil
}

// SetStable implements types.MetaStore.
func (m *metaStore) SetStable(key, value []byte) error {
	if len(key) > maxStableKey || len(value) > maxStableValue {
		return fmt.Errorf("raft log %s: stable value %.40q: key of %d bytes and value of %d, at most %d and %d",
			m.dir, key, len(key), len(value), maxStableKey, maxStableValue)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.cur
	next.Stable = make([]stableValue, 0, len(m.cur.Stable)+1)
	for _, v := range m.cur.Stable {
		if !bytes.Equal(v.Key, key) {
			next.Stable = append(next.Stable, v)
		}
	}
	next.Stable = append(next.Stable, stableValue{bytes.Clone(key), bytes.Clone(value)})
	return m.replaceLocked(next)
}

func (m *metaStore) replaceLocked(next meta) error {
	if m.closed {
		return ErrClosed
	}
	if err := m.brk.check(); err != nil {
		return err
	}
	data, err := next.encode()
	if err != nil {
		return err
	}
	if err := store.WriteFileAtomic(m.fs, m.dir, metaName, data); err != nil {
		return m.brk.trip("write meta", err)
	}
	m.cur = next
	return nil
}

// Close implements types.MetaStore.
func (m *metaStore) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
