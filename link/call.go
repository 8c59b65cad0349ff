package link

import "context"

// MaxCall bounds the request and the answer of a call, in bytes.
const MaxCall = 256 << 10

// Call asks a region something and waits for its answer, by any tunnel to it: first by
// one of this Manager's, then by one of its Endpoint's. It fails at once without a
// tunnel, with the other side's error as text, or when ctx ends or callTime has passed.
// A call that failed may have been answered.
func (m *Manager) Call(ctx context.Context, region string, kind byte, request []byte) ([]byte, error) {
	return nil, errNotYet
}
