package takeover

import (
	"time"

	"causeway/internal/home"
)

// Mode says who decides that another region takes a home over.
type Mode uint8

// The modes.
const (
	Manual Mode = iota // the operator
	Auto               // a majority of voters
)

// Isolation says what a host does that does not reach a majority, in Manual. In Auto
// it always stops.
type Isolation uint8

// What an isolated host does.
const (
	Serve Isolation = iota
	SelfFence
)

// Policy of a home.
type Policy struct {
	Mode      Mode
	Isolation Isolation
	Terms
}

// Votes says that the host serves by promises alone, so that a majority may promise the
// home to another region. Where it serves on without them only an operator can know
// that it is gone.
func (p Policy) Votes() bool { return p.Mode == Auto || p.Isolation == SelfFence }

// Host is a copy of a home that is or was served from. Epoch and Handed are part of
// the home's log, so they are durable; the rest is of one run.
type Host struct {
	Epoch     home.Epoch
	Handed    bool       // the epoch was given away: it is never served again
	InForce   home.Epoch // the highest epoch that a region is known to have served at
	Confirmed bool       // in this run a majority promised, or the operator said so
	Promises  Promises
}

// Hear notes an epoch that a region says it serves at.
func (h *Host) Hear(e home.Epoch) {
	if e.Compare(h.InForce) > 0 {
		h.InForce = e
	}
}

// Standing is whether a host serves, and if not, why.
type Standing uint8

// Standings. Only Serving serves devices.
const (
	Serving  Standing = iota
	Fenced            // another region serves at a higher epoch
	Gone              // the home was handed over
	Starting          // nobody confirmed that the epoch is still the newest
	Alone             // without the promises of a majority
)

func (s Standing) String() string {
	return [...]string{"serving", "fenced: another region serves at a higher epoch", "handed over",
		"waits for a majority of voters, or the operator, to confirm its epoch", "isolated: without a majority of voters"}[s]
}

// Standing decides whether the host serves at now.
func (h *Host) Standing(now time.Duration, voters []string, p Policy) Standing {
	until, majority := h.Promises.Until(voters, p.Terms)
	leased := majority && now < until
	switch {
	case h.InForce.Compare(h.Epoch) > 0:
		return Fenced
	case h.Handed:
		return Gone
	case leased:
		return Serving
	case !h.Confirmed:
		return Starting
	case p.Votes():
		return Alone
	}
	return Serving
}

// Confirm is called with each promise: a majority confirms the epoch of a run.
func (h *Host) Confirm(now time.Duration, voters []string, p Policy) {
	if until, ok := h.Promises.Until(voters, p.Terms); ok && now < until {
		h.Confirmed = true
	}
}

// Next is the epoch of a region that takes a home over, above all it has heard of.
func Next(region string, heard ...home.Epoch) home.Epoch {
	next := home.Epoch{Host: region}
	for _, e := range heard {
		next.Number = max(next.Number, e.Number)
	}
	next.Number++
	return next
}
