package home

import (
	"encoding/binary"
	"fmt"
)

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendEpoch(b []byte, e Epoch) []byte {
	return appendString(binary.AppendUvarint(b, e.Number), e.Host)
}

func appendSession(b []byte, k SessionKey) []byte {
	return appendString(appendString(b, k.Namespace), k.ClientID)
}

// Ranges ascend, so each is written as the distance from the last and a length.
func appendRanges(b []byte, list []Range) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	var last uint64
	for _, r := range list {
		b = binary.AppendUvarint(b, r.From-last)
		b = binary.AppendUvarint(b, r.To-r.From)
		last = r.To
	}
	return b
}

func appendFilters(b []byte, list []InterestFilter) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, f := range list {
		b = appendString(appendString(b, f.Namespace), f.Filter)
	}
	return b
}

// reader consumes b. The first failure sticks; what is read after it is zero.
type reader struct {
	b     []byte
	err   error
	space string // the last namespace; most are the same
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("a byte is missing")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.fail("a length is missing")
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number is missing or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("a number is missing or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the number of items that follow; each takes at least min bytes,
// so a hostile count is refused before anything is allocated for it.
func (r *reader) count(min int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/min) {
		r.fail("%d items in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("%d bytes wanted, %d left", n, len(r.b))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail("%d bytes wanted, %d left", n, len(r.b))
		return nil
	}
	return r.take(int(n))
}

func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) strings() []string {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.string())
	}
	return list
}

func (r *reader) epoch() Epoch { return Epoch{Number: r.uvarint(), Host: r.string()} }

func (r *reader) session() SessionKey { return SessionKey{r.namespace(), r.string()} }

func (r *reader) namespace() string {
	if b := r.bytes(); string(b) != r.space {
		r.space = string(b)
	}
	return r.space
}

func (r *reader) ranges() []Range {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	list := make([]Range, 0, n)
	var last uint64
	for range n {
		from := last + r.uvarint()
		to := from + r.uvarint()
		if from < last || to < from {
			r.fail("a range wraps")
			return nil
		}
		list = append(list, Range{from, to})
		last = to
	}
	return list
}

func (r *reader) filters() []InterestFilter {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	list := make([]InterestFilter, 0, n)
	for range n {
		list = append(list, InterestFilter{Namespace: r.string(), Filter: r.string()})
	}
	return list
}
