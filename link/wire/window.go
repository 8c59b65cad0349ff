package wire

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdStream compresses blocks one after the other as one zstd frame, so that a
// block finds what came in the window before it: small frames of telemetry, which
// alone stay what they are, shrink to a fifth. The other side must decompress
// every block, in order; both begin anew with the stream they are on.
type zstdStream struct {
	enc *zstd.Encoder
	out bytes.Buffer
}

func newZstdStream() (*zstdStream, error) {
	z := &zstdStream{}
	enc, err := zstd.NewWriter(&z.out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	z.enc = enc
	return z, nil
}

// block returns raw compressed, valid until the next call. After an error the
// stream is of no more use.
func (z *zstdStream) block(raw []byte) ([]byte, error) {
	z.out.Reset()
	if _, err := z.enc.Write(raw); err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	if err := z.enc.Flush(); err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return z.out.Bytes(), nil
}

// unzstdStream is the reverse. It keeps a window of what it has decompressed, of
// at most zstdWindow bytes, and nothing else.
type unzstdStream struct {
	dec *zstd.Decoder
	in  bytes.Reader // the block that is being decompressed
}

func newUnzstdStream() (*unzstdStream, error) {
	z := &unzstdStream{}
	dec, err := zstd.NewReader(onlyReader{&z.in}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	z.dec = dec
	return z, nil
}

// onlyReader hides what else a reader can do, of which the decoder would make use.
type onlyReader struct{ io.Reader }

// block decompresses the next block, which has size bytes: not one more is
// allocated, whatever is in it.
func (z *unzstdStream) block(data []byte, size int) ([]byte, error) {
	z.in.Reset(data)
	raw := make([]byte, size)
	if _, err := io.ReadFull(z.dec, raw); err != nil {
		return nil, corrupt("zstd: %v", noEOF(err))
	}
	if z.in.Len() > 0 {
		return nil, corrupt("%d bytes follow a zstd block of %d", z.in.Len(), size)
	}
	return raw, nil
}
