package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// RetainedMessage is a retained message whole: a line of an export.
type RetainedMessage struct {
	Namespace  string     `json:"namespace"`
	Topic      string     `json:"topic"`
	QoS        int        `json:"qos"`
	Payload    []byte     `json:"payload"`
	Properties []byte     `json:"properties"` // of MQTT 5 that go to subscribers, in their form on the wire
	ExpiresAt  *time.Time `json:"expires_at"`
}

// RetainedImport is the body of the call that takes some in.
type RetainedImport struct {
	Items []RetainedMessage `json:"items"`
}

// RetainedImported is what became of them.
type RetainedImported struct {
	DryRun   bool     `json:"dry_run"`
	Imported int      `json:"imported"`
	Kept     int      `json:"kept"`    // there is another message under the topic, and it stays
	Same     int      `json:"same"`    // that very message is there
	Expired  int      `json:"expired"` // meanwhile
	Refused  []string `json:"refused"` // a line for each that was not taken in, with the reason
}

// maxExport is about how many bytes of payload a page of an export has.
const maxExport = 1 << 20

// exportRetained is a page of retained messages with their payloads: fewer than asked for when they are large.
func (a *api) exportRetained(r *http.Request, q *query) (any, error) {
	all, err := a.listRetained(r, q)
	if err != nil {
		return nil, err
	}
	page, out, bytes := all.(Page[Retained]), Page[RetainedMessage]{Items: []RetainedMessage{}}, 0
	out.Next = page.Next
	for _, x := range page.Items {
		m, err := a.node.ExportRetained(x.Key())
		switch {
		case errors.Is(err, ErrNotFound): // it was deleted while the page was made
			continue
		case err != nil:
			return nil, fmt.Errorf("retained message %s: %w", x.Key(), err)
		}
		m.Payload, m.Properties = list(m.Payload), list(m.Properties)
		out.Items = append(out.Items, m)
		if bytes += len(m.Payload); bytes >= maxExport {
			out.Next = cursor(x.Key())
			break
		}
	}
	return out, nil
}

// importRetained takes retained messages in. What stands under a topic stays unless overwrite is given. It goes on
// after one that is refused.
func (a *api) importRetained(r *http.Request, q *query) (any, error) {
	dry, overwrite := q.flag("dry_run"), q.flag("overwrite")
	if q.err != nil {
		return nil, q.err
	}
	var body RetainedImport
	if err := readBody(r, &body, `send {"items": [{"namespace": "default", "topic": "a/b", "qos": 1, "payload": "aGVsbG8="}]}`); err != nil {
		return nil, err
	}
	out := RetainedImported{DryRun: dry, Refused: []string{}}
	for _, m := range body.Items {
		if m.ExpiresAt != nil && !m.ExpiresAt.After(time.Now()) {
			out.Expired++
			continue
		}
		k := Key{m.Namespace, m.Topic}
		have, err := a.node.ExportRetained(k)
		switch {
		case err == nil && string(have.Payload) == string(m.Payload) && string(have.Properties) == string(m.Properties) && have.QoS == m.QoS:
			out.Same++
			continue
		case err == nil && !overwrite:
			out.Kept++
			continue
		case err != nil && !errors.Is(err, ErrNotFound):
			return nil, fmt.Errorf("retained message %s: %w", k, err)
		}
		err = a.node.ImportRetained(r.Context(), m, dry)
		var bad *Problem
		var refused *Refused
		switch {
		case errors.As(err, &bad) || errors.As(err, &refused):
			out.Refused = append(out.Refused, fmt.Sprintf("%s: %s", k, err))
		case err != nil:
			return nil, fmt.Errorf("import retained message %s: %w", k, err)
		default:
			out.Imported++
		}
	}
	return out, nil
}
