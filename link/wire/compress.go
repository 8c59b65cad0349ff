package wire

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec says how a block is compressed.
type Codec byte

// Codecs of a block.
const (
	CodecNone Codec = 0
	CodecS2   Codec = 1
	CodecZstd Codec = 2
	// CodecZstdStream continues the zstd frame of the blocks before it on the same
	// stream, of those that have this codec. It is what CodecZstd becomes where both
	// sides know it; nobody asks for it.
	CodecZstdStream Codec = 3
)

func (c Codec) String() string {
	switch c {
	case CodecNone:
		return "none"
	case CodecS2:
		return "s2"
	case CodecZstd:
		return "zstd"
	case CodecZstdStream:
		return "zstd stream"
	}
	return fmt.Sprintf("codec %d", byte(c))
}

// Supported returns c if the features include it, otherwise the best codec that
// they do.
func Supported(c Codec, features uint64) Codec {
	switch {
	case c == CodecZstd && features&FeatureZstdStream != 0:
		return CodecZstdStream
	case c == CodecZstd && features&FeatureZstd != 0, c == CodecS2 && features&FeatureS2 != 0:
		return c
	case c != CodecNone && features&FeatureS2 != 0:
		return CodecS2
	}
	return CodecNone
}

const (
	minCompress = 128 // bytes; shorter blocks are not worth a try
	minStream   = 32  // with what came before in the window
	zstdWindow  = 1 << 20
	maxSkip     = 64 // blocks sent as they are before the next try
)

// compressor compresses blocks when it pays, that is, when a tenth is saved.
// Data that did not compress is tried again only after a growing number of
// blocks. It is not safe for concurrent use.
type compressor struct {
	codec  Codec
	zstd   *zstd.Encoder
	stream *zstdStream
	out    []byte
	skip   int // blocks left to send as they are
	next   int // skip after the next failure
}

func newCompressor(codec Codec) (*compressor, error) {
	c := &compressor{codec: codec, next: 1}
	if codec == CodecZstd {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("set up zstd: %w", err)
		}
		c.zstd = enc
	}
	var err error
	if codec == CodecZstdStream {
		c.stream, err = newZstdStream()
	}
	return c, err
}

// block returns raw in the form to send. The result is valid until the next
// call and may be raw itself. An error ends the stream that the blocks are on.
func (c *compressor) block(raw []byte) (Codec, []byte, error) {
	if c.codec == CodecNone || len(raw) < c.least() {
		return CodecNone, raw, nil
	}
	if c.skip > 0 {
		c.skip--
		return CodecNone, raw, nil
	}
	out, err := c.compress(raw)
	switch {
	case err != nil:
		return CodecNone, nil, err
	case len(out)*11 <= len(raw)*10:
		c.next = 1
		return c.codec, out, nil
	}
	c.skip, c.next = c.next, min(2*c.next, maxSkip)
	if c.stream != nil { // the next block builds on it
		return c.codec, out, nil
	}
	return CodecNone, raw, nil
}

func (c *compressor) least() int {
	if c.stream != nil {
		return minStream
	}
	return minCompress
}

func (c *compressor) compress(raw []byte) ([]byte, error) {
	switch {
	case c.stream != nil:
		return c.stream.block(raw)
	case c.zstd != nil:
		c.out = c.zstd.EncodeAll(raw, c.out[:0])
	default:
		c.out = s2.Encode(c.out[:cap(c.out)], raw)
	}
	return c.out, nil
}

// decompressor is the reverse. It is not safe for concurrent use.
type decompressor struct {
	zstd   *zstd.Decoder
	stream *unzstdStream
}

// block returns the raw form of data, which is exactly size bytes or an error.
// The caller has bounded size. With CodecNone the result aliases data,
// otherwise it is new.
func (d *decompressor) block(codec Codec, data []byte, size int) ([]byte, error) {
	switch codec {
	case CodecNone:
		if len(data) != size {
			return nil, corrupt("a block of %d bytes says it has %d", len(data), size)
		}
		return data, nil
	case CodecS2:
		n, err := s2.DecodedLen(data)
		if err != nil || n != size {
			return nil, corrupt("an s2 block of %d bytes says it has %d", n, size)
		}
		raw, err := s2.Decode(make([]byte, size), data)
		if err != nil {
			return nil, corrupt("s2: %v", err)
		}
		return raw, nil
	case CodecZstd:
		return d.unzstd(data, size)
	case CodecZstdStream:
		return d.unzstdStream(data, size)
	}
	return nil, corrupt("%s is not known", codec)
}

func (d *decompressor) unzstdStream(data []byte, size int) ([]byte, error) {
	if d.stream == nil {
		var err error
		if d.stream, err = newUnzstdStream(); err != nil {
			return nil, err
		}
	}
	return d.stream.block(data, size)
}

func (d *decompressor) unzstd(data []byte, size int) ([]byte, error) {
	if d.zstd == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, fmt.Errorf("set up zstd: %w", err)
		}
		d.zstd = dec
	}
	raw, err := d.zstd.DecodeAll(data, make([]byte, 0, size))
	if err != nil {
		return nil, corrupt("zstd: %v", err)
	}
	if len(raw) != size {
		return nil, corrupt("a zstd block of %d bytes says it has %d", len(raw), size)
	}
	return raw, nil
}
