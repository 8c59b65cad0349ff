package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxControl bounds the body of one message on a control or interest stream.
const MaxControl = 1 << 20

// Types of control messages. Numbers are never given to another meaning.
const (
	typeCursor          = 1
	typeAck             = 2
	typeInterestRequest = 3
	typeGoodbye         = 4
	typeWelcome         = 5
	typeRelayAnswer     = 6
	typeQuestion        = 8
	typeAnswer          = 9
	typeConnections     = 10
	typeJoin            = 11
	typeHosts           = 12
	typeShipAt          = 13
	typeShipFrom        = 14
	typeShipAck         = 15
	typeInterestDigest  = 16
	typeInterestChunk   = 17
	typeInterestDelta   = 18
)

// Control is a message of the control stream or the interest stream.
type Control interface {
	kind() uint64
	append(b []byte) []byte
}

// Cursor tells a sender where the receiver stands in one class of the sender's
// spool. It answers a spool stream's opening; the sender goes on from it.
type Cursor struct {
	Source Source
	Class  string
	Known  bool // false: nothing of this source and class was ever received
	Seq    uint64
	// Applied is how much of that the receiver's standby has, too, as far as is known; Seq
	// if it has none, or is of a version that does not say.
	Applied uint64
}

// Ack says how much of a class the receiver has.
type Ack struct {
	Source    Source
	Class     string
	Committed uint64 // on a majority of the receiver's disks
	Applied   uint64 // also in the receiver's standby; Committed if it has none, or does not wait for it
}

// Welcome ends the opening: the accepting side takes the tunnel, with what both
// sides have in common.
type Welcome struct{ Agreement }

// Reasons for Goodbye. They are the application error codes of a closed
// connection, too.
const (
	GoodbyeShutdown     uint64 = 0 // the sender stops
	GoodbyeReplaced     uint64 = 1 // another tunnel of the pair is used instead
	GoodbyeUnknownPeer  uint64 = 2 // no link to this region is configured
	GoodbyeIncompatible uint64 = 3 // no common version
	GoodbyeProtocol     uint64 = 4 // the other side broke the protocol
	GoodbyeIdentity     uint64 = 5 // certificate and opening do not agree
	GoodbyeFailed       uint64 = 6 // the sender cannot go on with this tunnel
	GoodbyeNotGateway   uint64 = 7 // another node of the region has its links: try the next address
	GoodbyeRole         uint64 = 8 // the copy there is not what the tunnel is for: try another region
	GoodbyeSuperseded   uint64 = 9 // a higher epoch of the sender's, or receiver's, home is known
)

// GoodbyeText is what a code says by itself: over TCP a connection is closed with
// a code alone.
func GoodbyeText(code uint64) string {
	texts := []string{"it stops the link", "another tunnel of the pair is in use", "it has no link to this region", "no common version",
		"it says that we broke the protocol; its log has more", "certificate and opening do not agree", "it gave the tunnel up",
		"that node of the region has no links now", "its copy of the home is not what the tunnel is for",
		"a higher epoch of the home is known"}
	if code < uint64(len(texts)) {
		return texts[code]
	}
	return fmt.Sprintf("code %d", code)
}

// Goodbye ends an opening: the accepting side does not take the tunnel. Later a
// connection is closed with the same codes and a reason of its own.
type Goodbye struct {
	Code   uint64
	Reason string // for people; cut at 1024 bytes
}

func (*Cursor) kind() uint64  { return typeCursor }
func (*Ack) kind() uint64     { return typeAck }
func (*Goodbye) kind() uint64 { return typeGoodbye }
func (*Welcome) kind() uint64 { return typeWelcome }

func (w *Welcome) append(b []byte) []byte {
	b = binary.AppendUvarint(b, w.Version)
	return binary.AppendUvarint(b, w.Features)
}

func (c *Cursor) append(b []byte) []byte {
	b = appendSource(b, c.Source)
	b = appendString(b, c.Class)
	b = append(b, flag(c.Known))
	return binary.AppendUvarint(binary.AppendUvarint(b, c.Seq), c.Applied)
}

func (a *Ack) append(b []byte) []byte {
	b = appendSource(b, a.Source)
	b = appendString(b, a.Class)
	b = binary.AppendUvarint(b, a.Committed)
	return binary.AppendUvarint(b, a.Applied)
}

func (g *Goodbye) append(b []byte) []byte {
	b = binary.AppendUvarint(b, g.Code)
	return appendString(b, g.Reason[:min(len(g.Reason), maxText)])
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// AppendControl adds m to b.
func AppendControl(b []byte, m Control) []byte {
	body := m.append(make([]byte, 0, 64))
	b = binary.AppendUvarint(b, m.kind())
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// ReadControl reads the next message whose type this build knows and skips
// others: a later version may add some. At the end of the stream it returns
// io.EOF.
func ReadControl(r *bufio.Reader) (Control, error) {
	for {
		kind, body, err := readBody(r)
		if err != nil {
			return nil, err
		}
		m, err := parseControl(kind, body)
		if m != nil || err != nil {
			return m, err
		}
	}
}

func readBody(r *bufio.Reader) (kind uint64, body []byte, err error) {
	if kind, err = binary.ReadUvarint(r); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, err
		}
		return 0, nil, fmt.Errorf("read a control message: %w", err)
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, nil, fmt.Errorf("read a control message: %w", noEOF(err))
	}
	if n > MaxControl {
		return 0, nil, tooLarge("a control message has %d bytes, at most %d are allowed", n, MaxControl)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, fmt.Errorf("read a control message: %w", noEOF(err))
	}
	return kind, body, nil
}

// parseControl returns nil, nil for an unknown type. Known types ignore bytes
// after the fields they know.
func parseControl(kind uint64, body []byte) (Control, error) {
	f := fields{b: body}
	var m Control
	switch kind {
	case typeCursor:
		m = f.cursor()
	case typeAck:
		m = &Ack{Source: f.source(), Class: f.string("class", maxName), Committed: f.uvarint("committed"), Applied: f.uvarint("applied")}
	case typeGoodbye:
		m = &Goodbye{Code: f.uvarint("code"), Reason: f.string("reason", maxText)}
	case typeWelcome:
		m = &Welcome{Agreement{Version: f.uvarint("version"), Features: f.uvarint("feature bits")}}
	case typeRelayAnswer:
		m = f.relayAnswer()
	case typeQuestion:
		m = f.question()
	case typeAnswer:
		m = f.answer()
	case typeConnections:
		m = &Connections{Want: f.uvarint("connections"), TCP: f.byte("over TCP") != 0}
	case typeJoin:
		m = f.join()
	case typeHosts:
		m = f.hosts()
	case typeShipAt:
		m = f.shipAt()
	case typeShipFrom:
		m = f.shipFrom()
	case typeShipAck:
		m = &ShipAck{At: f.position()}
	case typeInterestRequest:
		m = f.interestRequest()
	case typeInterestDigest:
		m = f.interestDigest()
	case typeInterestChunk:
		m = f.interestChunk()
	case typeInterestDelta:
		m = f.interestDelta()
	default:
		return nil, nil
	}
	if f.err != nil {
		return nil, f.err
	}
	return m, nil
}

func (f *fields) cursor() *Cursor {
	c := &Cursor{Source: f.source(), Class: f.string("class", maxName), Known: f.byte("known") != 0, Seq: f.uvarint("cursor")}
	if c.Applied = c.Seq; len(f.b) > 0 {
		c.Applied = f.uvarint("applied")
	}
	return c
}

// noEOF turns an end in the middle of something into an unexpected one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
