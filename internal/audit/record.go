package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// State is how far an act is.
type State string

// The states of an act. What was asked and has no other record did not end while the node ran.
const (
	Asked   State = "asked"
	Done    State = "done"
	Refused State = "refused" // by a precondition, or for want of a right
	Failed  State = "failed"
)

// Act is what somebody wants, or did.
type Act struct {
	State State  `json:"state"`
	Of    uint64 `json:"of,omitempty"` // the number of the record that asked for it
	// Who is the name of the token, "socket", or the node's own part that acts by itself.
	Who    string `json:"who"`
	Role   string `json:"role,omitempty"`
	Action string `json:"action"`           // as the API names it
	Target string `json:"target,omitempty"` // what it is about
	// Request is what came with it, at most maxRequest bytes of it; RequestHash is of all of it, in hex.
	Request     string `json:"request,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
	Reason      string `json:"reason,omitempty"` // why it was refused or failed
}

// Record is an act in the log.
type Record struct {
	N    uint64    `json:"n"`
	Time time.Time `json:"time"`
	Act
	Hash string `json:"-"`
}

// Bounds of one record, in bytes.
const (
	maxRequest = 4096
	maxField   = 1024
	maxLine    = 64 << 10
)

// SetRequest puts in what came with a request.
func (a *Act) SetRequest(b []byte) {
	if len(b) == 0 {
		return
	}
	sum := sha256.Sum256(b)
	a.RequestHash = hex.EncodeToString(sum[:])
	a.Request = string(b[:min(len(b), maxRequest)])
}

func (a *Act) bound() {
	for _, s := range []*string{&a.Who, &a.Role, &a.Action, &a.Target, &a.Reason} {
		*s = (*s)[:min(len(*s), maxField)]
	}
}

// noHash is before the first record.
const noHash = "0000000000000000000000000000000000000000000000000000000000000000"

func hashOf(before string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(before + " "))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// appendLine appends the record as a line, and sets its hash.
func (r *Record) appendLine(b []byte, before string) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode an audit record: %w", err)
	}
	r.Hash = hashOf(before, body)
	b = append(b, r.Hash...)
	b = append(b, ' ')
	b = append(b, body...)
	return append(b, '\n'), nil
}

// parseLine reads a line without its end, and its JSON as it stands.
func parseLine(line []byte) (r Record, body []byte, err error) {
	hash, body, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(hash) != len(noHash) {
		return r, nil, errors.New("it does not begin with a hash")
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, nil, fmt.Errorf("its record is not JSON: %w", err)
	}
	r.Hash = string(hash)
	return r, body, nil
}
