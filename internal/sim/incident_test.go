package sim

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
)

// Each file of testdata/copies is an incident of a home with copies in several regions: prose,
// then commands and what came of them, as in testdata.
func TestIncidents(t *testing.T) {
	playAll(t, "testdata/copies/*.txt", 5, func() player {
		w := newCopies(CopiesOptions{Seed: 1, Scenario: true})
		w.run(100 * time.Millisecond)
		w.said = nil
		return &incident{w}
	})
}

type incident struct{ w *copies }

func (s *incident) heard() ([]string, error) {
	said := s.w.said
	s.w.said = nil
	return said, s.w.bad
}

// do does one command. A home "eu" is served at eu; us and ap stand by.
//
//	subscribe DEVICE SITE QOS       it leaves again: what comes for it waits
//	connect DEVICE SITE             what waits is given to it there, and acknowledged; one that only acknowledges the first N: connect DEVICE SITE N
//	publish SITE PAYLOAD...         at QoS 2
//	hold SITE, ship SITE            it ships nothing, until
//	cut SITE, join SITE             no other region reaches it, until
//	die SITE, back SITE
//	promote SITE [planned]          with what it has
//	hand SITE SITE
//	run DURATION
//	queue DEVICE SITE; copies
func (s *incident) do(c []string) error {
	w := s.w
	var at *site
	for _, x := range w.sites {
		for _, name := range c[1:] {
			if x.name == name && at == nil {
				at = x
			}
		}
	}
	switch c[0] {
	case "run":
		d, err := time.ParseDuration(c[1])
		w.run(w.now + d)
		return err
	case "copies":
		for _, x := range w.sites {
			w.say("%s: epoch %s, %d records%s", x.name, x.state.Epoch(), x.records(), map[bool]string{true: ", serves"}[x.serves()])
		}
		return nil
	}
	if at == nil {
		return fmt.Errorf("it names no site")
	}
	switch c[0] {
	case "hold", "ship":
		at.held = c[0] == "hold"
	case "cut", "join":
		at.cut = c[0] == "cut"
	case "die":
		at.crash()
	case "back":
		at.start()
	case "promote":
		at.promote(len(c) > 2)
		w.say("%s serves at epoch %s", at.name, at.state.Epoch())
	case "hand":
		at.do(&home.Hand{Epoch: at.state.Epoch(), To: c[2]})
	case "publish":
		for _, p := range c[2:] {
			if o := at.do(&home.Publish{Topic: "t", Payload: []byte(p), QoS: 2}); o.Code != home.CodeOK {
				w.say("%s refuses %q: %#x", at.name, p, o.Code)
			}
		}
	default:
		return s.ofDevices(c, at)
	}
	return nil
}

// payload is that of a reference, wherever its body is.
func (s *site) payload(q *home.Queued) string {
	m := q.Message
	if q.Evicted {
		m, _ = home.DecodeBody(q.Seq, s.store[string(home.BodyKey(q.Seq))])
	}
	return string(m.Payload)
}

func (s *incident) ofDevices(c []string, at *site) error {
	k := home.SessionKey{ClientID: c[1]}
	attach := func() home.SessionEpoch {
		return at.do(&home.Attach{Session: k, Expiry: 3600, Window: 100}).Epoch
	}
	leave := func(e home.SessionEpoch) { at.do(&home.Detach{Session: k, Epoch: e, DropWill: true}) }
	switch c[0] {
	case "subscribe":
		qos, err := strconv.Atoi(c[3])
		e := attach()
		at.do(&home.Subscribe{Session: k, Epoch: e, Filters: []home.Subscription{{Filter: "t", QoS: byte(qos)}}})
		leave(e)
		return err
	case "connect":
		most := 100
		if len(c) > 3 {
			n, err := strconv.Atoi(c[3])
			if most = n; err != nil {
				return err
			}
		}
		e := attach()
		for _, q := range at.state.Queue(k, e, 0, 100, nil) {
			if most--; most < 0 {
				break
			}
			s.w.say("%s gets %s from %s", c[1], at.payload(&q), at.name)
			at.do(&home.Ack{Session: k, Epoch: e, Done: []home.Range{{From: q.Ref, To: q.Ref}}})
		}
		leave(e)
	case "queue":
		var list []string
		for _, q := range at.state.Peek(k, 0, 100) {
			list = append(list, at.payload(&q))
		}
		s.w.say("for %s waits at %s: %s", c[1], at.name, strings.Join(list, " "))
	default:
		return fmt.Errorf("there is no such command")
	}
	return nil
}
