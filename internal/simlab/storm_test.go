package simlab

import (
	"flag"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/config"
)

var fleet = flag.Int("simlab.storm", 0, "how many sessions lose their region at once; 0: the storm is skipped")

// straight connects a device without a network between: two ends of one pipe.
func (n *Node) straight() (*line, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.life
	if l == nil {
		return nil, errDown
	}
	a, b := net.Pipe()
	line := &line{ends: [4]net.Conn{a, a, b, b}, done: make(chan struct{})}
	l.lines[line] = struct{}{}
	n.lab.lives.Go(func() {
		<-line.done
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(l.lines, line)
	})
	if err := l.app.Broker().ServeConn(b, listener); err != nil {
		line.cut()
		return nil, err
	}
	return line, nil
}

// member of the fleet: it has a session, and looks for its home wherever it may be.
type member struct {
	id string
}

// Redial times of a member: as clients do it, twice as long each time, and not all at once.
const (
	stormLeast = time.Second
	stormMost  = 8 * time.Second
)

// connect tries a region once; nil: it was not answered in time, or without a session.
func (m *member) connect(r *Region, present bool) (*line, error) {
	l, err := r.nodes[0].straight()
	if err != nil {
		return nil, err
	}
	hello := packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: m.id})
	_ = l.device().SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = l.device().Write(hello); err == nil {
		var h packet.Header
		var body []byte
		if h, body, err = readPacket(l.device()); err == nil {
			var a packet.Connack
			if a, err = connackOf(h, body); err == nil && (a.Code != packet.Success || a.SessionPresent != present) {
				err = fmt.Errorf("%s: CONNACK %s, session present %v", m.id, a.Code, a.SessionPresent)
			}
		}
	}
	if err != nil {
		l.cut()
		return nil, err
	}
	_ = l.device().SetDeadline(time.Time{})
	return l, nil
}

func connackOf(h packet.Header, body []byte) (packet.Connack, error) {
	if h.Type != packet.CONNACK {
		return packet.Connack{}, fmt.Errorf("%s instead of CONNACK", h.Type)
	}
	return packet.DecodeConnack(body, packet.V311)
}

// A whole fleet loses its region at once and comes to the standby: printed is after how long its
// sessions are served again. It is a measurement on a virtual clock: what is waited for counts
// (detecting, deciding, admission, redialling), what computing takes does not.
func TestStorm(t *testing.T) {
	if *fleet == 0 {
		t.Skip("a measurement: -simlab.storm 50000")
	}
	in(t, pairOf(config.TakeoverAuto), func(t *testing.T, l *Lab) {
		eu, us := l.Region("eu"), l.Region("us")
		members, lines := make([]*member, *fleet), make([]*line, *fleet)
		var all sync.WaitGroup
		for i := range members {
			members[i] = &member{id: fmt.Sprintf("car-%05d", i)}
			all.Go(func() {
				time.Sleep(l.upTo(time.Duration(*fleet) * 200 * time.Microsecond))
				for lines[i] == nil && !l.stopped() {
					lines[i], _ = members[i].connect(eu, false)
				}
			})
		}
		all.Wait()
		await(t, l, "copies", func() bool { return l.together() == nil })
		synctest.Wait()

		lost := time.Now()
		eu.Crash()
		took := make([]time.Duration, len(members))
		tries := make([]int, len(members))
		for i, m := range members {
			all.Go(func() {
				back := stormLeast
				for k := 0; took[i] == 0 && !l.stopped(); k++ {
					time.Sleep(back/2 + l.upTo(back))
					tries[i]++
					if c, err := m.connect([]*Region{us, eu}[k%2], true); err == nil {
						took[i], lines[i] = time.Since(lost), c
						return
					}
					back = min(2*back, stormMost)
				}
			})
		}
		serves(t, l, "us", "eu")
		served := time.Since(lost)
		all.Wait()
		slices.Sort(took)
		slices.Sort(tries)
		at := func(p float64) time.Duration {
			return took[min(len(took)-1, int(p*float64(len(took))))].Round(10 * time.Millisecond)
		}
		t.Logf("%d sessions: the standby serves after %s; half of them are served after %s, 95%% after %s, 99.9%% after %s, all after %s; at most %d tries each",
			len(took), served.Round(10*time.Millisecond), at(0.5), at(0.95), at(0.999), at(1), tries[len(tries)-1])
		for _, c := range lines {
			if c != nil {
				c.cut()
			}
		}
	})
}
