package handover

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"causeway/internal/home"
)

// Kind is that of the questions among the calls between regions.
const Kind byte = 8

// What is asked. Numbers are part of the protocol and never given to another meaning.
const (
	WhatTake    = 1  // give me this session, or what of it is behind After
	WhatTaken   = 2  // I have it; Settled reaches it here
	WhatDone    = 3  // I need nothing more of it
	WhatBack    = 4  // I do not take it
	WhatClaim   = 5  // what became of this claim of yours?
	WhatReaches = 6  // do you know what I want, as of Version? does Drain have all up to UpTo?
	WhatWho     = 7  // have you got this session?
	WhatNews    = 8  // what changed of your sessions?
	WhatParts   = 9  // which sessions are in these parts?
	WhatEnd     = 10 // my device began anew: end yours
	WhatFetch   = 11 // ask me for this session: an operator sends it
)

// Ask is a question of one home to another.
type Ask struct {
	What    int
	From    home.ID // who asks
	To      home.ID
	Session home.SessionKey
	Claim   uint64     `json:",omitempty"`
	After   uint64     `json:",omitempty"`
	Epoch   home.Epoch // Take: of the home asked, when it gave last; Reaches: of who asks
	Merge   bool       `json:",omitempty"` // Take: its device has a session with me as well
	Whole   bool       `json:",omitempty"` // Take: all that waited is here
	Both    bool       `json:",omitempty"` // Who: its device has a session with me as well
	Offset  int        `json:",omitempty"` // Take: of the answer, which may be long
	Settled []home.ID  `json:",omitempty"`
	Version uint64     `json:",omitempty"`
	Drain   home.ID    `json:",omitempty"`
	UpTo    home.Seq   `json:",omitempty"`

	Instance uint64 `json:",omitempty"`
	Since    uint64 `json:",omitempty"`
	Digest   bool   `json:",omitempty"`
	Parts    []byte `json:",omitempty"`
}

// Verdict is what came of a question.
type Verdict int

// The verdicts.
const (
	OK        Verdict = 0
	Unknown   Verdict = 1 // there is no such session, or claim
	Busy      Verdict = 2 // not now
	Elsewhere Verdict = 3 // Home has it
	Refused   Verdict = 4 // by rule
	Ended     Verdict = 5 // there was one, and it is over
	Pending   Verdict = 6 // it is under way
)

// Answer is the answer to an Ask.
type Answer struct {
	Verdict Verdict
	Why     string  `json:",omitempty"`
	Home    home.ID `json:",omitempty"`

	Data  []byte    `json:",omitempty"` // Take: a piece of an Adopt
	Total int       `json:",omitempty"` // its length
	Sum   uint32    `json:",omitempty"`
	Last  uint64    `json:",omitempty"` // the newest that waits for the session there
	Waits []home.ID `json:",omitempty"`

	Epoch   home.Epoch
	High    home.Seq       `json:",omitempty"`
	Before  []home.Settled `json:",omitempty"` // Reaches: the last numbers of epochs before Epoch
	Applied bool           `json:",omitempty"`
	Drained bool           `json:",omitempty"`

	Session home.SessionEpoch `json:",omitempty"` // Who, News: highest
	Queued  int               `json:",omitempty"`
	Fresh   home.SessionEpoch `json:",omitempty"` // Who: with which its device began anew

	Instance uint64                `json:",omitempty"`
	Position uint64                `json:",omitempty"`
	Known    bool                  `json:",omitempty"`
	Add      hashes                `json:",omitempty"`
	Remove   hashes                `json:",omitempty"`
	Moved    map[home.ID]hashes    `json:",omitempty"`
	Parts    []byte                `json:",omitempty"` // of which Add is all there is
	Digest   *home.DirectoryDigest `json:",omitempty"`
}

// hashes are written as bytes: as numbers they would take twice the room.
type hashes []uint64

func (h hashes) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 8*len(h))
	for _, x := range h {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return json.Marshal(b)
}

func (h *hashes) UnmarshalJSON(text []byte) error {
	var b []byte
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	for ; len(b) >= 8; b = b[8:] {
		*h = append(*h, binary.BigEndian.Uint64(b))
	}
	return nil
}

// ErrUnreachable says that a home could not be asked.
var ErrUnreachable = errors.New("its region does not answer")

// Asker brings a question to where a home is served. Errors that wrap ErrUnreachable say that
// nobody there answered, others that the answer was no.
type Asker interface {
	Ask(ctx context.Context, q *Ask) (*Answer, error)
}

// Home is a home that is served here, at the node that leads it.
type Home interface {
	State() *home.State
	// Now estimates home time.
	Now() home.Time
	// Do enters an operation and returns what came of it.
	Do(ctx context.Context, op home.Op) (home.Outcome, error)
	// Body reads a message that the state has only on the disk.
	Body(seq home.Seq) (home.Message, error)
	// Silence returns when none of some runs of nodes sends for a session any more.
	Silence(ctx context.Context, k home.SessionKey, epoch home.SessionEpoch, formers []home.Owner) error
	// Shipped returns when the home's standby has a record, or need not be waited for.
	Shipped(ctx context.Context, record uint64) error
}

// Encode and decode questions and answers as calls carry them.
func (q *Ask) Encode() ([]byte, error)    { return json.Marshal(q) }
func (a *Answer) Encode() ([]byte, error) { return json.Marshal(a) }

// DecodeAsk decodes a question.
func DecodeAsk(b []byte) (*Ask, error) {
	q := &Ask{}
	if err := json.Unmarshal(b, q); err != nil {
		return nil, fmt.Errorf("a question about a session: %w", err)
	}
	return q, nil
}

// DecodeAnswer decodes an answer.
func DecodeAnswer(b []byte) (*Answer, error) {
	a := &Answer{}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("an answer about a session: %w", err)
	}
	return a, nil
}

const (
	partBytes  = 96 << 10  // of messages in one Adopt, unless one has more
	pieceBytes = 160 << 10 // of an Adopt in one answer
)

// cut makes an answer of a piece of an encoded Adopt.
func (a *Answer) cut(whole []byte, offset int) {
	a.Total, a.Sum = len(whole), crc32.ChecksumIEEE(whole)
	offset = max(0, min(offset, len(whole)))
	a.Data = whole[offset:min(offset+pieceBytes, len(whole))]
}

// maxAdopt bounds what is put together of pieces: a message of the largest packet.
const maxAdopt = 300 << 20

// fetch asks for all pieces of an answer.
func fetch(ctx context.Context, to Asker, q *Ask) (*Answer, *home.Adopt, error) {
	for range 3 {
		var whole []byte
		ask := *q
		for {
			ask.Offset = len(whole)
			a, err := to.Ask(ctx, &ask)
			if err != nil || a.Verdict != OK {
				return a, nil, err
			}
			if len(a.Data) == 0 || a.Total > maxAdopt || len(whole)+len(a.Data) > a.Total {
				break // it has changed meanwhile
			}
			if whole = append(whole, a.Data...); len(whole) < a.Total {
				continue
			}
			if crc32.ChecksumIEEE(whole) != a.Sum {
				break
			}
			op, err := home.DecodeAdopt(whole)
			if err != nil {
				return nil, nil, fmt.Errorf("what home %s gives of session %s: %w", q.To, q.Session, err)
			}
			return a, op, nil
		}
	}
	return nil, nil, fmt.Errorf("what home %s gives of session %s changes while it is read", q.To, q.Session)
}
