package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// Limits are bounds that may change while the server runs. Who connects from then on has them.
type Limits struct {
	// Inflight and KeepAliveMax are as in Options.
	Inflight     int
	KeepAliveMax time.Duration
	// Quotas are those of namespaces; one that is not there has none.
	Quotas map[string]Quota
	// Connected says how many sessions of a namespace have a connection, in all the homes served here and on whatever
	// node, but for that of one client. nil: only connections of this node count.
	Connected func(home.SessionKey) int
}

// Quota bounds what the devices of a namespace take. 0: no bound.
type Quota struct {
	Connections int     // over all nodes
	Publish     float64 // messages a second that this node takes
}

// SetLimits replaces the limits in force.
func (s *Server) SetLimits(l Limits) {
	def(&l.Inflight, home.MaxWindow)
	l.Inflight = min(l.Inflight, home.MaxWindow)
	for ns, q := range l.Quotas {
		s.tenants.of(ns).setRate(q.Publish)
	}
	s.limits.Store(&l)
}

// tenants are the namespaces that quotas were ever set for; there are as many as an operator named.
type tenants struct {
	mu sync.Mutex
	m  map[string]*tenant
}

// tenant is what this node counts of a namespace.
type tenant struct {
	connecting atomic.Int64 // CONNECTs under way
	interval   atomic.Int64 // between two messages, ns; 0: no bound
	next       atomic.Int64 // when the next one is due, ns since the server was made
}

func (t *tenants) of(ns string) *tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]*tenant{}
	}
	if t.m[ns] == nil {
		t.m[ns] = &tenant{}
	}
	return t.m[ns]
}

func (t *tenant) setRate(perSecond float64) {
	if perSecond <= 0 {
		t.interval.Store(0)
		return
	}
	t.interval.Store(max(1, int64(float64(time.Second)/perSecond)))
}

// publishBurst is how far behind its rate a namespace may be to catch up at once.
const publishBurst = int64(time.Second)

// take takes a message out of the rate, or says how long that would have to wait.
func (t *tenant) take(now instant) (wait time.Duration) {
	interval := t.interval.Load()
	if interval == 0 {
		return 0
	}
	for {
		due := t.next.Load()
		at := max(due, int64(now)-publishBurst)
		if at > int64(now) {
			return time.Duration(at - int64(now))
		}
		if t.next.CompareAndSwap(due, at+interval) {
			return 0
		}
	}
}

// seat asks for room for one more connection of a namespace. Without an error leave must be called once its Attach is
// decided.
func (k *connecting) seat(c *conn, v packet.Version) (leave func(), refused *refusal) {
	l := k.s.limits.Load()
	q, bounded := l.Quotas[c.key.Namespace]
	if !bounded || q.Connections == 0 {
		return func() {}, nil
	}
	t := k.s.tenants.of(c.key.Namespace)
	n := int(t.connecting.Add(1))
	if l.Connected != nil {
		n += l.Connected(c.key)
	}
	if n > q.Connections {
		t.connecting.Add(-1)
		return nil, &refusal{result: ConnectOverQuota, code: packet.QuotaExceeded, v: v, reason: "the namespace has as many connections as its quota allows"}
	}
	return func() { t.connecting.Add(-1) }, nil
}

// overRate is what becomes of a message that is beyond the rate of its namespace: QoS 0 is dropped, MQTT 5 is told, and
// MQTT 3.x, which cannot be told, is not read for a moment. Nor is a device that sends QoS 2: the message may be one that
// was taken before its PUBREC was lost, and only the home knows. over says that the message is done with.
func (c *conn) overRate(p *packet.Publish) (over bool, err error) {
	if _, bounded := c.s.limits.Load().Quotas[c.key.Namespace]; !bounded {
		return false, nil
	}
	t := c.tenant
	if t == nil {
		t = c.s.tenants.of(c.key.Namespace)
		c.tenant = t
	}
	wait := t.take(c.s.now())
	if wait == 0 {
		return false, nil
	}
	if p.QoS == 2 || p.QoS > 0 && c.v != packet.V5 {
		c.s.stats.Throttled.Add(1)
		return false, c.hold(min(wait, mostHeld))
	}
	c.s.stats.drop(DropQuota, 1)
	if err := c.waitForReader(); err != nil {
		return true, err
	}
	c.answerNow(p.PacketID, p.QoS, packet.QuotaExceeded)
	return true, nil
}

// mostHeld is how long a device is not read for one message: its keep-alive goes on meanwhile.
const mostHeld = time.Second

// hold lets time pass unless the connection closes.
func (c *conn) hold(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.s.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return errClosing
	}
	return nil
}

// SetListener changes the bounds of a listener while it runs; ok is false if there is none of that name.
func (s *Server) SetListener(name string, maxConnections int, connectRate float64) (ok bool) {
	l := s.listeners[name]
	if l == nil {
		return false
	}
	l.most.Store(int64(maxConnections))
	l.pace.set(connectRate)
	return true
}
