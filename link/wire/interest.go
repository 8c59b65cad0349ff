package wire

import "encoding/binary"

// Bounds of interest messages.
const (
	MaxInterestBlock   = 512 << 10 // bytes of filters in one message, before compression
	maxInterestFilters = MaxInterestBlock / minFilter
	minFilter          = 2 // two lengths
)

// Filter is a topic filter in a namespace.
type Filter struct{ Namespace, Filter string }

// Digest is a fingerprint of a set of filters.
type Digest struct{ Hi, Lo uint64 }

// InterestDigest tells the version and fingerprint of what the sender wants of
// the receiver. It opens an interest stream and is repeated.
type InterestDigest struct {
	Epoch   Epoch
	Version uint64
	Digest  Digest
}

// InterestRequest asks for what the other side wants: a delta from what is held
// or, with Full or when that is not possible, a snapshot.
type InterestRequest struct {
	Full    bool
	Epoch   Epoch // held
	Version uint64
}

// InterestChunk is a part of a snapshot. Chunks of a snapshot follow each other
// from index 0; the last one has Last set.
type InterestChunk struct {
	Epoch   Epoch
	Version uint64
	Digest  Digest
	Index   uint64
	Last    bool
	Filters []Filter
}

// InterestDelta takes the set from Base to Version.
type InterestDelta struct {
	Epoch         Epoch
	Base, Version uint64
	Add, Remove   []Filter
}

func (*InterestDigest) kind() uint64  { return typeInterestDigest }
func (*InterestRequest) kind() uint64 { return typeInterestRequest }
func (*InterestChunk) kind() uint64   { return typeInterestChunk }
func (*InterestDelta) kind() uint64   { return typeInterestDelta }

func (m *InterestDigest) append(b []byte) []byte {
	b = appendEpoch(b, m.Epoch)
	b = binary.AppendUvarint(b, m.Version)
	return appendDigest(b, m.Digest)
}

func (f *fields) interestDigest() *InterestDigest {
	return &InterestDigest{Epoch: f.epoch(), Version: f.uvarint("version"), Digest: f.digest()}
}

func (m *InterestRequest) append(b []byte) []byte {
	b = append(b, flag(m.Full))
	b = appendEpoch(b, m.Epoch)
	return binary.AppendUvarint(b, m.Version)
}

func (f *fields) interestRequest() *InterestRequest {
	return &InterestRequest{Full: f.byte("full") != 0, Epoch: f.epoch(), Version: f.uvarint("version")}
}

func (m *InterestChunk) append(b []byte) []byte {
	b = appendEpoch(b, m.Epoch)
	b = binary.AppendUvarint(b, m.Version)
	b = appendDigest(b, m.Digest)
	b = binary.AppendUvarint(b, m.Index)
	b = append(b, flag(m.Last))
	return appendFilters(b, m.Filters)
}

func (f *fields) interestChunk() *InterestChunk {
	return &InterestChunk{Epoch: f.epoch(), Version: f.uvarint("version"), Digest: f.digest(),
		Index: f.uvarint("chunk"), Last: f.byte("last") != 0, Filters: f.filters()}
}

func (m *InterestDelta) append(b []byte) []byte {
	b = appendEpoch(b, m.Epoch)
	b = binary.AppendUvarint(b, m.Base)
	b = binary.AppendUvarint(b, m.Version)
	b = appendFilters(b, m.Add)
	return appendFilters(b, m.Remove)
}

func (f *fields) interestDelta() *InterestDelta {
	return &InterestDelta{Epoch: f.epoch(), Base: f.uvarint("base"), Version: f.uvarint("version"),
		Add: f.filters(), Remove: f.filters()}
}

func appendDigest(b []byte, d Digest) []byte {
	b = binary.BigEndian.AppendUint64(b, d.Hi)
	return binary.BigEndian.AppendUint64(b, d.Lo)
}

func (f *fields) digest() Digest {
	return Digest{Hi: f.uint64("digest"), Lo: f.uint64("digest")}
}

// FilterBytes is at least the raw size of f in an interest message. Senders keep
// the sum of a message within MaxInterestBlock.
func FilterBytes(f Filter) int { return 6 + len(f.Namespace) + len(f.Filter) }

// largeBlock is from where on it pays to set up zstd for one block.
const largeBlock = 64 << 10

// appendFilters writes count, codec, raw size, size and block. Sorted sets of
// filters shrink well: with zstd to two thirds of what s2 makes of them, to half
// where names are random.
func appendFilters(b []byte, filters []Filter) []byte {
	raw := make([]byte, 0, 1024)
	for _, f := range filters {
		raw = appendString(raw, f.Namespace)
		raw = appendString(raw, f.Filter)
	}
	codec, data := shrink(raw)
	b = binary.AppendUvarint(b, uint64(len(filters)))
	b = append(b, byte(codec))
	b = binary.AppendUvarint(b, uint64(len(raw)))
	return appendBytes(b, data)
}

func shrink(raw []byte) (Codec, []byte) {
	comp := &compressor{codec: CodecS2, next: 1}
	if len(raw) >= largeBlock {
		if zip, err := newCompressor(CodecZstd); err == nil {
			comp = zip
		}
	}
	codec, data, _ := comp.block(raw) // only a stream of blocks can fail
	return codec, data
}

func (f *fields) filters() []Filter {
	count := f.uvarint("number of filters")
	codec := Codec(f.byte("codec"))
	size := f.uvarint("size of filters")
	data := f.bytes("filters", MaxControl)
	if f.err != nil {
		return nil
	}
	if size > MaxInterestBlock {
		f.fail(tooLarge("%d bytes of filters in one message, at most %d are allowed", size, MaxInterestBlock))
		return nil
	}
	if count > maxInterestFilters || count*minFilter > size {
		f.fail(corrupt("%d bytes of filters cannot be %d filters", size, count))
		return nil
	}
	if codec == CodecZstdStream {
		f.fail(corrupt("a block of filters stands alone"))
		return nil
	}
	var d decompressor
	raw, err := d.block(codec, data, int(size))
	if err != nil {
		f.fail(err)
		return nil
	}
	return f.filterList(raw, int(count))
}

func (f *fields) filterList(raw []byte, count int) []Filter {
	if count == 0 {
		return nil
	}
	g := fields{b: raw}
	filters := make([]Filter, count)
	for i := range filters {
		filters[i] = Filter{Namespace: g.string("namespace", maxTopic), Filter: g.string("filter", maxTopic)}
	}
	if err := g.end("filters"); err != nil {
		f.fail(err)
		return nil
	}
	return filters
}
