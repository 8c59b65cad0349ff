package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// A request and its reply are a version, then all fields in order: numbers as uvarints,
// texts with their length before them. There are few of them, so none is left out.

// wireVersion is the first byte of both. Another one is refused: regions of two
// versions agree on it before a home's feature level lets them meet.
const wireVersion = 1

// Bounds of what is read: longer is not a name or a reason of ours.
const (
	maxName = 255
	maxNote = 1000
)

// subject is what a request is about.
type subject uint8

// The requests.
const (
	ask     subject = iota + 1 // for a promise
	tell                       // how far a standby is
	release                    // a host does not rely on its epoch any more
	served                     // a region serves at an epoch
	short                      // standbys lack, or no more, what a host acknowledges
	look                       // how would you take a home over?
	lastSubject
)

// The flags of a request.
const (
	flagCandidate = 1 << iota // the asker does not host the home yet
	flagForced                // an operator's word
	flagOn                    // ask: the host serves now; short: it falls short
	allFlags      = 1<<iota - 1
)

type request struct {
	Subject subject
	Home    home.ID
	Flags   uint8
	Epoch   home.Epoch
	At      takeover.Position
	Hold    time.Duration // for how long at least the asker needs a promise kept
	Record  uint64        // of short; of ask the list of voters that the asker decides by, 0: not said
}

func (r *request) has(flag uint8) bool { return r.Flags&flag != 0 }

// verdict is what a voter says. The first ones are takeover's.
type verdict uint8

const (
	yes      = verdict(takeover.Yes)
	wait     = verdict(takeover.Wait)
	behind   = verdict(takeover.Behind)
	old      = verdict(takeover.Old)
	lacking  = old + 1 // what the host acknowledged is on no standby [E13]
	terms    = old + 2 // the voter keeps its promises for less than the asker needs
	stranger = old + 3 // the asker may not host this home
	voteless = old + 4 // the region has no vote
	outdated = old + 5 // the asker has not heard who votes by now
)

func (v verdict) String() string {
	if v <= old {
		return takeover.Answer(v).String()
	}
	switch v {
	case lacking:
		return "the host acknowledged what no standby has"
	case terms:
		return "it keeps promises for a shorter time: takeover.hold differs"
	case stranger:
		return "the region is no host of this home by its configuration"
	case voteless:
		return "it has no vote"
	case outdated:
		return "the home's voters were changed, and the copy does not go as far"
	}
	return fmt.Sprintf("answer %d, which this version does not know", uint8(v))
}

type reply struct {
	Verdict  verdict
	Promised home.Epoch
	InForce  home.Epoch
	Silent   time.Duration // since a host that serves was heard
	Short    bool
	Look     Look
}

var errMalformed = errors.New("malformed message of the vote")

func putText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putEpoch(b []byte, e home.Epoch) []byte {
	return putText(binary.AppendUvarint(b, e.Number), e.Host)
}

func putBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// reader takes fields off a message; after the first fault all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || size > 1 && r.b[size-1] == 0 { // one form for each number
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bool() bool {
	c := r.byte()
	r.bad = r.bad || c > 1
	return c == 1
}

func (r *reader) text(most uint64) string {
	n := r.number()
	if r.bad || n > most || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) epoch() home.Epoch {
	return home.Epoch{Number: r.number(), Host: r.text(maxName)}
}

func (r *reader) duration() time.Duration {
	n := r.number()
	if n > uint64(1<<62) {
		r.bad = true
		return 0
	}
	return time.Duration(n)
}

// end is the error of a message that has been read.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errMalformed
	}
	return nil
}

func (r *request) encode() []byte {
	b := putText([]byte{wireVersion, byte(r.Subject)}, string(r.Home))
	b = putEpoch(append(b, r.Flags), r.Epoch)
	b = binary.AppendUvarint(putEpoch(b, r.At.Epoch), uint64(r.At.Seq))
	b = binary.AppendUvarint(b, uint64(r.Hold))
	return binary.AppendUvarint(b, r.Record)
}

func decodeRequest(b []byte) (request, error) {
	if len(b) > 0 && b[0] != wireVersion {
		return request{}, fmt.Errorf("%w: version %d, this program speaks %d", errMalformed, b[0], wireVersion)
	}
	r := reader{b: b}
	r.byte()
	q := request{Subject: subject(r.byte()), Home: home.ID(r.text(maxName)), Flags: r.byte(), Epoch: r.epoch()}
	q.At.Epoch = r.epoch()
	q.At.Seq, q.Hold, q.Record = home.Seq(r.number()), r.duration(), r.number()
	if q.Subject == 0 || q.Subject >= lastSubject || q.Flags&^allFlags != 0 || q.Home == "" {
		r.bad = true
	}
	return q, r.end()
}

func (r *reply) encode() []byte {
	b := putEpoch(putEpoch([]byte{wireVersion, byte(r.Verdict)}, r.Promised), r.InForce)
	b = putBool(binary.AppendUvarint(b, uint64(r.Silent)), r.Short)
	l := &r.Look
	b = putBool(putBool(b, l.Has), l.Ready)
	b = binary.AppendUvarint(b, l.Records)
	for _, n := range []int64{int64(l.Room.Sessions), l.Room.Queued, l.Room.DiskBytes} {
		b = binary.AppendUvarint(b, uint64(max(n, -1)+1)) // -1 is no bound
	}
	b = binary.AppendUvarint(b, uint64(l.Supports))
	return putText(b, l.Why[:min(len(l.Why), maxNote)])
}

func decodeReply(b []byte) (reply, error) {
	if len(b) > 0 && b[0] != wireVersion {
		return reply{}, fmt.Errorf("%w: version %d, this program speaks %d", errMalformed, b[0], wireVersion)
	}
	r := reader{b: b}
	r.byte()
	p := reply{Verdict: verdict(r.byte()), Promised: r.epoch(), InForce: r.epoch(), Silent: r.duration(), Short: r.bool()}
	l := &p.Look
	l.Has, l.Ready, l.Records = r.bool(), r.bool(), r.number()
	l.Room = Room{Sessions: int(r.bound()), Queued: r.bound(), DiskBytes: r.bound()}
	level := r.number()
	l.Supports, l.Why = uint32(level), r.text(maxNote)
	r.bad = r.bad || level > 1<<32-1
	return p, r.end()
}

// bound reads a number of which -1 is none.
func (r *reader) bound() int64 {
	n := r.number()
	if n > 1<<62 {
		r.bad = true
	}
	return int64(n) - 1
}
