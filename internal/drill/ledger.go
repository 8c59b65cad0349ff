package drill

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Kinds of what a canary notes.
const (
	SawSent    = "s" // a message was sent for the first time
	SawAck     = "a" // it was acknowledged
	SawArrival = "r" // a message arrived, again or for the first time
	SawConnect = "c" // CONNACK; Present says whether the session was there
	SawLoss    = "x" // the connection ended
	SawWill    = "w" // a will arrived: of the publisher of Stream, at its connection N

)

// Canary is a device that writes a ledger, as its first line says.
type Canary struct {
	Device int    `json:"device"` // its number in the ledger
	ID     string `json:"id"`
	Client string `json:"client"` // what speaks: causeway 3.1.1, causeway 5, mosquitto, …
	Region string `json:"region"` // where it has its session, or is the first address it tries
	Role   string `json:"role"`   // pub, sub, wills
	QoS    byte   `json:"qos"`
	Stream uint32 `json:"stream"` // that it publishes, or gets
	Across bool   `json:"across"` // publisher and subscriber are at home in different regions
	Blind  bool   `json:"blind"`  // a client of another make: only what it sent, had acknowledged and got is known
}

// Entry is one line of a ledger: a canary, or something that one saw. Ledgers are all that
// is known of messages; nobody else adds to them.
type Entry struct {
	Canary  *Canary `json:"canary,omitempty"`
	At      int64   `json:"t,omitempty"` // Unix, ns
	Saw     string  `json:"k,omitempty"`
	Device  int     `json:"d,omitempty"`
	Stream  uint32  `json:"s,omitempty"`
	N       uint64  `json:"n,omitempty"`
	Present bool    `json:"p,omitempty"`
}

func (e *Entry) at() time.Time { return time.Unix(0, e.At) }

// maxLine bounds a line of a ledger or journal, in bytes.
const maxLine = 1 << 20

// ReadLedger reads what one canary process wrote. A last line that was cut short is left out:
// the process was killed.
func ReadLedger(r io.Reader, each func(Entry)) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; in.Scan(); n++ {
		var e Entry
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			if !in.Scan() {
				return nil
			}
			return fmt.Errorf("line %d: %w", n, err)
		}
		each(e)
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line is longer than %d bytes", maxLine)
	}
	return in.Err()
}
