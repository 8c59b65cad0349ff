package link

import (
	"causeway/internal/home"
	"causeway/link/wire"
)

// span is a frame on its way: sent and not yet acknowledged.
type span struct {
	epoch home.Epoch
	to    home.Seq
	bytes int
}

// flight is what a sender has under way, oldest first. The spool keeps the
// messages; this only counts them.
type flight struct {
	spans []span
	bytes int
}

func (f *flight) add(s span) {
	f.spans = append(f.spans, s)
	f.bytes += s.bytes
}

// acked removes what an acknowledgement for an epoch covers: numbers rise over
// epochs, so everything of older ones, too.
func (f *flight) acked(epoch home.Epoch, to home.Seq) {
	n := 0
	for n < len(f.spans) {
		s := f.spans[n]
		if order := s.epoch.Compare(epoch); order > 0 || order == 0 && s.to > to {
			break
		}
		f.bytes -= s.bytes
		n++
	}
	f.spans = f.spans[n:]
	if len(f.spans) == 0 {
		f.spans = nil
	}
}

// start says where a sender begins, given where the receiver stands and what the
// spool still has.
type start struct {
	at    home.Seq
	gap   bool // what follows the receiver's cursor is not in the spool any more
	ahead bool // the receiver has numbers that this home has not given
}

func startAt(c *wire.Cursor, spoolStart, high home.Seq) start {
	at := home.Seq(c.Seq)
	switch {
	case !c.Known:
		return start{at: spoolStart}
	case at > high:
		return start{at: at, ahead: true}
	case at < spoolStart:
		return start{at: at, gap: true}
	}
	return start{at: at}
}
