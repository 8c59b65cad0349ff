package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Bounds of a frame.
const (
	MaxFrameRaw      = 1 << 20                // bytes of messages before compression, unless there is only one message
	MaxFrameMessages = 8192                   // messages
	MaxMessageBytes  = 65 << 20               // of one message, as MessageBytes counts; the receiver may ask for less
	messageSlack     = 66<<10 + maxGroupBytes // namespace, groups and numbers of one message
	frameHead        = 8                      // length and CRC
	maxFrameFields   = 4*maxName + 100
)

// Flags of a frame.
const (
	flagLive byte = 1 << 0 // no span: messages that are in no spool
	flagGap  byte = 1 << 1 // Header.Gap
	// The messages are followed by the groups that some of them are for.
	flagGroups byte = 1 << 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says what a frame is of.
type Header struct {
	Source Source
	Class  string
	From   uint64 // the frame is everything the sender has for the receiver in (From, To]
	To     uint64
	Live   bool // the messages are in no spool; Class, From and To mean nothing
	Gap    bool // part of the span was dropped or trimmed at the sender before it was received
}

// Message is one message of a frame.
type Message struct {
	Seq           uint64 // in the source; not sent in live frames
	Namespace     string
	Topic         string
	Payload       []byte
	Forward       []byte // MQTT 5 properties in wire form
	ExpiryMillis  uint64 // left of its life; 0 never expires
	RetainVersion uint64
	QoS           byte
	Retain        bool
	Live          bool // the receiver's interest matched it
	// Groups are the global groups that the sender chose the receiver for, as
	// "group/filter", of maxGroupBytes at most. They are sent when both sides have
	// FeatureGroups.
	Groups []string
}

// Frame is a decoded frame. Its messages share one buffer that belongs to the
// caller.
type Frame struct {
	Header
	Messages []Message
	Raw      int // bytes of the messages before compression
	Wire     int // bytes of the frame
}

// Encoder builds frames one after the other. It is not safe for concurrent use.
type Encoder struct {
	comp  *compressor
	raw   []byte
	tail  []byte // groups, which go behind the messages
	tails int
	after int // the last message that has some
	out   []byte
	count int
	last  uint64
	ns    string
	live  bool
}

// NewEncoder returns an encoder that compresses with codec where it pays. With
// CodecZstdStream all its frames must go to one Decoder, in order.
func NewEncoder(codec Codec) (*Encoder, error) {
	comp, err := newCompressor(codec)
	if err != nil {
		return nil, err
	}
	return &Encoder{comp: comp}, nil
}

// Begin starts a frame whose span begins after from.
func (e *Encoder) Begin(from uint64) { e.begin(from, false) }

// BeginLive starts a frame without a span.
func (e *Encoder) BeginLive() { e.begin(0, true) }

func (e *Encoder) begin(from uint64, live bool) {
	e.raw, e.count, e.last, e.ns, e.live = e.raw[:0], 0, from, "", live
	e.tail, e.tails, e.after = e.tail[:0], 0, 0
}

// Raw is the size of the messages added so far, in bytes before compression.
func (e *Encoder) Raw() int { return len(e.raw) + len(e.tail) }

// Count is the number of messages added so far.
func (e *Encoder) Count() int { return e.count }

// Add adds a message. It reports false, and adds nothing, when the message does
// not fit into this frame; the first message always does.
func (e *Encoder) Add(m *Message) bool {
	if e.count > 0 && (e.count == MaxFrameMessages || e.Raw()+messageBound(m) > MaxFrameRaw) {
		return false
	}
	e.raw = e.appendMessage(e.raw, m)
	e.appendGroups(m.Groups)
	e.count++
	e.last, e.ns = m.Seq, m.Namespace
	return true
}

// Finish returns the frame's bytes, valid until the next Finish. It fails for a
// single message above MaxMessageBytes and for a header that does not cover the
// messages.
func (e *Encoder) Finish(h Header) ([]byte, error) {
	if len(e.raw) > MaxMessageBytes+messageSlack {
		return nil, tooLarge("a message has %d bytes, at most %d cross a link", len(e.raw), MaxMessageBytes)
	}
	if h.Live != e.live || !h.Live && (h.To < h.From || e.count > 0 && h.To < e.last) {
		return nil, fmt.Errorf("link frame (%d, %d] does not cover its messages up to %d", h.From, h.To, e.last)
	}
	if e.tails > 0 {
		e.raw, e.tail = append(binary.AppendUvarint(e.raw, uint64(e.tails)), e.tail...), e.tail[:0]
	}
	codec, data, err := e.comp.block(e.raw)
	if err != nil {
		return nil, err
	}
	b := append(e.out[:0], make([]byte, frameHead)...)
	b = h.append(b, e.tails > 0)
	b = binary.AppendUvarint(b, uint64(e.count))
	b = append(b, byte(codec))
	b = binary.AppendUvarint(b, uint64(len(e.raw)))
	b = append(b, data...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameHead))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[frameHead:], castagnoli))
	e.out = b
	return b, nil
}

func (h *Header) append(b []byte, groups bool) []byte {
	var flags byte
	if h.Live {
		flags |= flagLive
	}
	if h.Gap {
		flags |= flagGap
	}
	if groups {
		flags |= flagGroups
	}
	b = append(b, flags)
	b = appendSource(b, h.Source)
	if h.Live {
		return b
	}
	b = appendString(b, h.Class)
	b = binary.AppendUvarint(b, h.From)
	return binary.AppendUvarint(b, h.To-h.From)
}

// Decoder reads the frames of one stream. It is not safe for concurrent use.
type Decoder struct {
	decomp decompressor
	maxRaw int // bytes of a frame with one message, before compression
}

// NewDecoder returns a decoder that refuses a single message above maxMessage
// bytes, as MessageBytes counts; 0 is MaxMessageBytes.
func NewDecoder(maxMessage int) *Decoder {
	if maxMessage <= 0 {
		maxMessage = MaxMessageBytes
	}
	return &Decoder{maxRaw: max(maxMessage+messageSlack, MaxFrameRaw)}
}

// Read reads the next frame. At the end of the stream it returns io.EOF.
func (d *Decoder) Read(r io.Reader) (Frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Frame{}, err
		}
		return Frame{}, fmt.Errorf("read a link frame: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if limit := int64(d.maxRaw + maxFrameFields); n > limit {
		return Frame{}, tooLarge("a frame has %d bytes, at most %d are allowed", n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Frame{}, fmt.Errorf("read a link frame: %w", noEOF(err))
	}
	if sum := crc32.Checksum(body, castagnoli); sum != binary.BigEndian.Uint32(head[4:]) {
		return Frame{}, corrupt("a frame's checksum is %08x, it says %08x", sum, binary.BigEndian.Uint32(head[4:]))
	}
	return d.parse(body)
}

func (d *Decoder) parse(body []byte) (Frame, error) {
	f := fields{b: body}
	h, groups := f.header()
	fr := Frame{Header: h, Wire: len(body) + frameHead}
	count := f.uvarint("count")
	codec := Codec(f.byte("codec"))
	raw := f.uvarint("raw size")
	if f.err != nil {
		return Frame{}, f.err
	}
	if err := d.bound(count, raw); err != nil {
		return Frame{}, err
	}
	block, err := d.decomp.block(codec, f.b, int(raw))
	if err != nil {
		return Frame{}, err
	}
	fr.Raw = int(raw)
	fr.Messages, err = parseMessages(block, int(count), &fr.Header, groups)
	return fr, err
}

// bound checks what a frame says of its size before anything is allocated for
// it.
func (d *Decoder) bound(count, raw uint64) error {
	limit := uint64(MaxFrameRaw)
	if count == 1 {
		limit = uint64(d.maxRaw)
	}
	switch {
	case raw > limit:
		return tooLarge("a frame of %d messages has %d bytes of them, at most %d are allowed", count, raw, limit)
	case count > MaxFrameMessages || count*minMessage > raw:
		return corrupt("a frame of %d bytes says it has %d messages", raw, count)
	}
	return nil
}

// header also says whether groups follow the messages.
func (f *fields) header() (h Header, groups bool) {
	flags := f.byte("flags")
	groups = flags&flagGroups != 0
	h = Header{Live: flags&flagLive != 0, Gap: flags&flagGap != 0, Source: f.source()}
	if h.Live {
		return h, groups
	}
	h.Class = f.string("class", maxName)
	h.From = f.uvarint("from")
	span := f.uvarint("span")
	h.To = h.From + span
	if f.err == nil && h.To < h.From {
		f.fail(corrupt("a frame's span of %d overflows", span))
	}
	return h, groups
}
