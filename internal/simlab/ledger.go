package simlab

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Message is what a device publishes.
type Message struct {
	Topic  string
	QoS    byte
	Retain bool
	Empty  bool // no payload: with Retain, a deletion
	Size   int  // bytes of padding
}

// Sent is a message in its publisher's ledger.
type Sent struct {
	Message
	Num   int // from 1, by publisher
	At    time.Time
	Acked time.Time // when PUBACK or PUBCOMP came; PUBREC counts as the promise
	Text  string
	Doubt bool // a region may have been lost meanwhile: it may come late, and twice
}

// Seen is a message that a subscriber was given. A QoS 2 copy that the client's
// own memory of packet ids holds back is not.
type Seen struct {
	Topic  string
	Text   string
	From   string // publisher; empty for what is not numbered, as wills
	Num    int
	QoS    byte
	Retain bool
	Dup    bool
	At     time.Time
}

// text is the payload of a numbered message.
func text(from string, num, size int) string {
	return fmt.Sprintf("%s %d|", from, num) + strings.Repeat("x", size)
}

// parse fills in who sent a payload.
func (s *Seen) parse(payload string) {
	head, _, ok := strings.Cut(payload, "|")
	s.Text = head
	if ok {
		if _, err := fmt.Sscanf(head, "%s %d", &s.From, &s.Num); err != nil {
			s.From, s.Num = "", 0
		}
	}
}

// wish is a subscription of a device.
type wish struct {
	filter  string
	group   string // the shared subscription it is of, as it was asked for; else empty
	qos     byte
	granted bool      // SUBACK came
	settled time.Time // from when on every message must come; zero: not yet
}

// newWish reads what is asked for.
func newWish(asked string, qos byte) *wish {
	w := &wish{filter: asked, qos: qos}
	if rest, ok := strings.CutPrefix(asked, "$share/"); ok {
		w.group = asked
		_, w.filter, _ = strings.Cut(rest, "/")
	}
	return w
}

// asked is the filter of SUBSCRIBE.
func (w *wish) asked() string { return cmp.Or(w.group, w.filter) }

// matches knows the filters that the lab uses: a topic, or a prefix and #.
func matches(filter, topic string) bool {
	if prefix, ok := strings.CutSuffix(filter, "#"); ok {
		return strings.HasPrefix(topic, prefix)
	}
	return filter == topic
}
