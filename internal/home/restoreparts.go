package home

import (
	"fmt"
	"math/bits"
)

// RestoreParts makes operations of what a backup holds of a namespace, one after the other, each of about so
// many bytes. A body that several sessions wait for is sent twice at most, and stored once from then on.
type RestoreParts struct {
	from *Excerpt
	max  int

	seen  seen
	kept  map[Seq]struct{}  // bodies that the home keeps for the order
	ahead []RestoredSession // sessions that were read
	after string            // client id behind which they are
	upTo  string            // client id up to which that is all; "": there is nothing
	read  bool
}

// NewRestoreParts returns the parts of an excerpt.
func NewRestoreParts(from *Excerpt, max int) *RestoreParts {
	return &RestoreParts{from: from, max: max, kept: map[Seq]struct{}{}}
}

// Forget has bodies sent again: the home has let go of what it kept.
func (p *RestoreParts) Forget() { clear(p.kept) }

// seen remembers numbers in a fixed space: it may take one for seen that was not, which costs the home
// some room until the order is done.
type seen struct{ bits []uint64 }

const seenBits = 1 << 26 // 8 MiB

func (s *seen) at(n Seq) (word *uint64, bit uint64) {
	if s.bits == nil {
		s.bits = make([]uint64, seenBits/64)
	}
	i, _ := bits.Mul64(uint64(n)*0x9E3779B97F4A7C15, seenBits)
	return &s.bits[i/64], 1 << (i % 64)
}

// Next returns the part that follows what the home has; nil: that was all. It may be asked for the
// same part again.
func (p *RestoreParts) Next(at *Restoration) (*Restore, error) {
	b := p.begin(at)
	if at.At.Stage <= RestoreRetained {
		list, last, err := p.from.Retained(at.At.Key, p.max)
		if err != nil {
			return nil, err
		}
		if last != "" {
			b.op.Messages, b.op.To = list, RestoreCursor{Stage: RestoreRetained, Key: last}
			return b.op, nil
		}
	}
	if at.At.Stage <= RestoreSessions {
		after := ""
		if at.At.Stage == RestoreSessions {
			after = at.At.Key
		}
		if err := p.readAhead(after); err != nil {
			return nil, err
		}
		if p.upTo != "" {
			return b.op, p.sessions(b, at)
		}
	}
	after := ""
	if at.At.Stage == RestoreGroups {
		after = at.At.Key
	}
	return p.group(b, after)
}

// part is one as it grows.
type part struct {
	p    *RestoreParts
	op   *Restore
	has  map[Seq]struct{} // of its bodies
	new  []Seq            // were not seen before
	size int
}

func (p *RestoreParts) begin(at *Restoration) *part {
	op := &Restore{Step: RestoreTake, Namespace: at.Namespace, Order: at.Order, After: at.At, To: at.At}
	return &part{p: p, op: op, has: map[Seq]struct{}{}}
}

// body adds a body, unless it is there or the home keeps it.
func (b *part) body(seq Seq) error {
	if _, kept := b.p.kept[seq]; kept {
		return nil
	}
	word, bit := b.p.seen.at(seq)
	shared := *word&bit != 0
	if *word |= bit; !shared {
		b.new = append(b.new, seq)
	}
	if _, has := b.has[seq]; !has {
		m, err := b.p.from.Body(seq)
		if err != nil {
			return err
		}
		b.has[seq] = struct{}{}
		b.op.Messages = append(b.op.Messages, m)
		b.size += m.size()
	}
	if shared {
		b.p.kept[seq] = struct{}{}
		b.op.Keep = append(b.op.Keep, seq)
	}
	return nil
}

// undo takes out what came since the part had so many messages, and so on.
func (b *part) undo(messages, keep, size int) {
	for i := range b.op.Messages[messages:] {
		delete(b.has, b.op.Messages[messages+i].Seq)
	}
	for _, seq := range b.new {
		word, bit := b.p.seen.at(seq)
		*word &^= bit
	}
	for _, seq := range b.op.Keep[keep:] {
		delete(b.p.kept, seq)
	}
	b.op.Messages, b.op.Keep, b.size = b.op.Messages[:messages], b.op.Keep[:keep], size
}

// refsAtOnce bounds how many references are read ahead, but for those of one session.
const refsAtOnce = 1 << 14

// readAhead reads the sessions behind a client id, unless they are read.
func (p *RestoreParts) readAhead(after string) (err error) {
	if p.read && p.after == after {
		return nil
	}
	p.ahead, p.upTo, err = p.from.Sessions(after, refsAtOnce)
	p.after, p.read = after, err == nil
	return err
}

// sessions fills a part: with whole sessions, or with as much of one as fits.
func (p *RestoreParts) sessions(b *part, at *Restoration) error {
	if len(p.ahead) > 0 && at.Half != "" && at.Half == p.ahead[0].Export.Session.ClientID {
		return p.piece(b, &p.ahead[0], at.Got)
	}
	n := 0
	for ; n < len(p.ahead) && b.size < p.max; n++ {
		e, messages, keep, size := &p.ahead[n], len(b.op.Messages), len(b.op.Keep), b.size
		b.size, b.new = b.size+e.size(), nil
		for i := 0; i < len(e.Refs) && b.size < p.max; i++ {
			if err := b.body(e.Refs[i].Seq); err != nil {
				return err
			}
		}
		if b.size >= p.max && len(e.Refs) > 1 {
			b.undo(messages, keep, size)
			if n == 0 {
				return p.piece(b, e, 0)
			}
			break
		}
		b.op.Sessions = append(b.op.Sessions, *e)
	}
	p.passed(b.op, n)
	return nil
}

// passed makes the first n sessions that were read ahead the last of a part.
func (p *RestoreParts) passed(op *Restore, n int) {
	key := p.upTo
	if n < len(p.ahead) {
		key = p.ahead[n-1].Export.Session.ClientID
		p.ahead, p.after = p.ahead[n:], key
	}
	op.To = RestoreCursor{Stage: RestoreSessions, Key: key}
}

// piece takes what fits of one session, behind a reference.
func (p *RestoreParts) piece(b *part, e *RestoredSession, got uint64) error {
	x := *e
	x.From, x.Refs, x.Last = got, nil, true
	if got > 0 { // the home has the rest
		x.Export = SessionExport{Session: e.Export.Session, Will: e.Export.Will}
	}
	b.size += x.size()
	for _, f := range e.Refs {
		if f.Num <= got {
			continue
		}
		if b.size >= p.max && len(x.Refs) > 0 {
			x.Last, x.Export.Will = false, nil
			break
		}
		if err := b.body(f.Seq); err != nil {
			return err
		}
		x.Refs = append(x.Refs, f)
		b.size += 32
	}
	b.op.Sessions = []RestoredSession{x}
	if x.Last {
		p.passed(b.op, 1)
	}
	return nil
}

// groupAtOnce bounds how many messages of a shared subscription go into a part.
const groupAtOnce = 256

// group fills a part with what waits in a shared subscription.
func (p *RestoreParts) group(b *part, after string) (*Restore, error) {
	g, last, err := p.from.Group(after, groupAtOnce)
	if err != nil || last == "" {
		return nil, err
	}
	for i, seq := range g.Seqs {
		if b.size >= p.max {
			g.Seqs, last = g.Seqs[:i], g.key(g.Seqs[i-1])
			break
		}
		if err := b.body(seq); err != nil {
			return nil, fmt.Errorf("shared subscription %s: %w", g.Name, err)
		}
	}
	b.op.Groups, b.op.To = []RestoredGroup{g}, RestoreCursor{Stage: RestoreGroups, Key: last}
	return b.op, nil
}
