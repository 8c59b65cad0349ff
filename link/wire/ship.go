package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The shipping of a home to a copy of it: blocks on a stream of kind StreamShip, and
// three control messages that answer.

// Bounds of a block.
const (
	MaxShipRaw     = MaxMessageBytes + 16<<20 // bytes before compression
	MaxShipRecords = 1 << 16
	MaxShipKey     = MaxControl / 2
	shipHead       = 9 // kind, length and CRC
	shipSlack      = 1 << 20
	shipAtOnce     = 1 << 20 // that are allocated before they came
)

// Position is where a copy of a home stands.
type Position struct {
	Epoch          Epoch
	Records, Chain uint64
}

// ShipRecord is a record of a home. Without Data it is an anchor: the place that the
// next one follows.
type ShipRecord struct {
	N, Chain uint64
	Data     []byte
}

// ShipKind says what a block is.
type ShipKind byte

// Kinds of blocks.
const (
	ShipRecords  ShipKind = 1 // the next records
	ShipOffer    ShipKind = 2 // a copy follows once ShipFrom says from where on
	ShipChunk    ShipKind = 3 // a part of it
	ShipDone     ShipKind = 4 // that was all of it
	ShipDiverged ShipKind = 5 // nothing follows: the copy there has records of its own
)

// ShipBlock is one block.
type ShipBlock struct {
	Kind    ShipKind
	Records []ShipRecord // numbered one after the other
	At      Position     // of the offered copy; of the host that another one differs from
	Chunk   []byte
	Raw     int // bytes before compression
	Wire    int // bytes on the stream
}

// ShipAt tells where a standby stands. It answers the opening of a stream.
type ShipAt struct {
	Nonce   uint64
	At      Position
	Broken  bool   // it cannot go on by records
	Refusal string // why it takes nothing
	Trouble string // why it gave up the last stream; both are cut at 1024 bytes
}

// ShipFrom says from where on a standby needs the copy that is offered.
type ShipFrom struct {
	Nonce uint64
	Begun bool   // it has all up to After
	After []byte // a key
}

// ShipAck says what a standby has applied.
type ShipAck struct{ At Position }

func (*ShipAt) kind() uint64   { return typeShipAt }
func (*ShipFrom) kind() uint64 { return typeShipFrom }
func (*ShipAck) kind() uint64  { return typeShipAck }

func (a *ShipAt) append(b []byte) []byte {
	b = appendPosition(binary.AppendUvarint(b, a.Nonce), a.At)
	b = appendString(append(b, flag(a.Broken)), a.Refusal[:min(len(a.Refusal), maxText)])
	return appendString(b, a.Trouble[:min(len(a.Trouble), maxText)])
}

func (a *ShipFrom) append(b []byte) []byte {
	return appendBytes(append(binary.AppendUvarint(b, a.Nonce), flag(a.Begun)), a.After)
}

func (a *ShipAck) append(b []byte) []byte { return appendPosition(b, a.At) }

func appendPosition(b []byte, p Position) []byte {
	b = binary.AppendUvarint(appendEpoch(b, p.Epoch), p.Records)
	return binary.BigEndian.AppendUint64(b, p.Chain)
}

func (f *fields) position() Position {
	return Position{Epoch: f.epoch(), Records: f.uvarint("records"), Chain: f.uint64("chain")}
}

func (f *fields) shipAt() *ShipAt {
	return &ShipAt{Nonce: f.uvarint("nonce"), At: f.position(), Broken: f.byte("broken") != 0,
		Refusal: f.string("refusal", maxText), Trouble: f.string("trouble", maxText)}
}

func (f *fields) shipFrom() *ShipFrom {
	return &ShipFrom{Nonce: f.uvarint("nonce"), Begun: f.byte("begun") != 0, After: f.bytes("key", MaxShipKey)}
}

// ShipEncoder writes the blocks of one stream. What it returns is valid until its next
// call. It is not safe for concurrent use.
type ShipEncoder struct {
	c        *compressor
	raw, out []byte
}

// NewShipEncoder returns an encoder for a stream.
func NewShipEncoder(codec Codec) (*ShipEncoder, error) {
	c, err := newCompressor(codec)
	return &ShipEncoder{c: c}, err
}

// Records encodes records, which are numbered one after the other; raw is their size
// before compression.
func (e *ShipEncoder) Records(list []ShipRecord) (b []byte, raw int, err error) {
	if len(list) == 0 || len(list) > MaxShipRecords {
		return nil, 0, fmt.Errorf("a block of %d records: use 1 to %d", len(list), MaxShipRecords)
	}
	e.raw = binary.AppendUvarint(e.raw[:0], list[0].N)
	e.raw = binary.AppendUvarint(e.raw, uint64(len(list)))
	for i, r := range list {
		if r.N != list[0].N+uint64(i) {
			return nil, 0, fmt.Errorf("record %d follows record %d", r.N, list[i-1].N)
		}
		e.raw = appendBytes(binary.BigEndian.AppendUint64(e.raw, r.Chain), r.Data)
	}
	if len(e.raw) > MaxShipRaw {
		return nil, 0, tooLarge("%d records have %d bytes, at most %d are allowed", len(list), len(e.raw), MaxShipRaw)
	}
	b, err = e.pack(ShipRecords, e.raw)
	return b, len(e.raw), err
}

// Chunk encodes a part of a copy.
func (e *ShipEncoder) Chunk(chunk []byte) ([]byte, error) {
	if len(chunk) > MaxShipRaw {
		return nil, tooLarge("a part of a copy has %d bytes, at most %d are allowed", len(chunk), MaxShipRaw)
	}
	return e.pack(ShipChunk, chunk)
}

// Mark encodes a block without records or a part of a copy.
func (e *ShipEncoder) Mark(kind ShipKind, at Position) []byte {
	e.out = append(e.out[:0], make([]byte, shipHead)...)
	e.out = appendPosition(e.out, at)
	return e.seal(kind)
}

func (e *ShipEncoder) pack(kind ShipKind, raw []byte) ([]byte, error) {
	codec, data, err := e.c.block(raw)
	if err != nil {
		return nil, err
	}
	e.out = append(e.out[:0], make([]byte, shipHead)...)
	e.out = append(e.out, byte(codec))
	e.out = binary.AppendUvarint(e.out, uint64(len(raw)))
	e.out = append(e.out, data...)
	return e.seal(kind), nil
}

func (e *ShipEncoder) seal(kind ShipKind) []byte {
	body := e.out[shipHead:]
	e.out[0] = byte(kind)
	binary.BigEndian.PutUint32(e.out[1:], uint32(len(body)))
	binary.BigEndian.PutUint32(e.out[5:], crc32.Checksum(body, castagnoli))
	return e.out
}

// ShipDecoder reads the blocks of one stream. It is not safe for concurrent use.
type ShipDecoder struct{ d decompressor }

// Read reads the next block; it returns io.EOF at the end of the stream. The block is the
// caller's.
func (d *ShipDecoder) Read(r io.Reader) (ShipBlock, error) {
	var head [shipHead]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return ShipBlock{}, err
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return ShipBlock{}, fmt.Errorf("read a shipped block: %w", noEOF(err))
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > MaxShipRaw+shipSlack {
		return ShipBlock{}, tooLarge("a shipped block has %d bytes, at most %d are allowed", size, MaxShipRaw+shipSlack)
	}
	body, err := readGrowing(r, int(size))
	if err != nil {
		return ShipBlock{}, fmt.Errorf("read a shipped block: %w", noEOF(err))
	}
	if sum := crc32.Checksum(body, castagnoli); sum != binary.BigEndian.Uint32(head[5:]) {
		return ShipBlock{}, corrupt("a shipped block has CRC %08x, and says %08x", sum, head[5:])
	}
	b, err := d.parse(ShipKind(head[0]), body)
	b.Wire = shipHead + len(body)
	return b, err
}

// readGrowing reads size bytes; of many it allocates no more than have come.
func readGrowing(r io.Reader, size int) ([]byte, error) {
	if size <= shipAtOnce {
		b := make([]byte, size)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b bytes.Buffer
	n, err := io.CopyN(&b, r, int64(size))
	if err == nil && n < int64(size) {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}

func (d *ShipDecoder) parse(kind ShipKind, body []byte) (b ShipBlock, err error) {
	b.Kind = kind
	f := fields{b: body}
	switch kind {
	case ShipRecords, ShipChunk:
		raw, err := d.unpack(&f)
		if err != nil {
			return b, err
		}
		b.Raw = len(raw)
		if kind == ShipChunk {
			b.Chunk = raw
			return b, nil
		}
		f = fields{b: raw}
		b.Records = f.records()
	case ShipOffer, ShipDone, ShipDiverged:
		b.At = f.position()
	default:
		return b, corrupt("a shipped block of kind %d", kind)
	}
	return b, f.end("shipped block")
}

func (d *ShipDecoder) unpack(f *fields) ([]byte, error) {
	codec, size := Codec(f.byte("codec")), f.uvarint("size")
	if f.err != nil {
		return nil, f.err
	}
	if size > MaxShipRaw {
		return nil, tooLarge("a shipped block becomes %d bytes, at most %d are allowed", size, MaxShipRaw)
	}
	return d.d.block(codec, f.b, int(size))
}

func (f *fields) records() (list []ShipRecord) {
	first, count := f.uvarint("first record"), f.uvarint("records")
	if count == 0 || count > MaxShipRecords || first > first+count {
		f.fail(corrupt("%d records from %d on", count, first))
	}
	if f.err != nil || count > uint64(len(f.b)) {
		f.fail(corrupt("%d records in %d bytes", count, len(f.b)))
		return nil
	}
	list = make([]ShipRecord, 0, count)
	for i := uint64(0); i < count && f.err == nil; i++ {
		list = append(list, ShipRecord{N: first + i, Chain: f.uint64("chain"), Data: f.bytes("record", MaxShipRaw)})
	}
	return list
}
