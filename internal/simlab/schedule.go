package simlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/broker/packet"
)

// schedule is what a seed stands for: the shape of the lab, and faults at their
// times. What the lab does between them is not in it.
type schedule struct {
	options Options
	loss    float64 // all the time
	twice   float64
	pace    time.Duration // between messages, up to
	lasts   time.Duration
	faults  []fault
}

func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "regions %v of %v nodes, one way %s + %s, loss %.3f, doubled %.3f, one-sided %v, lasts %s", s.options.Regions, s.options.Nodes,
		s.options.OneWay, s.options.Jitter, s.loss, s.twice, s.options.OneSided, s.lasts)
	for _, f := range s.faults {
		fmt.Fprintf(&b, "\n%10s %s", f.at, f.name)
	}
	return b.String()
}

// Sizes of a run. Few messages: real time is paid for each of them, virtual time
// costs little, and nothing while nobody beats.
const (
	perPublisher = 40
	faultsMost   = 9
	faultsLeast  = 4
)

// shapes are the labs that seeds choose from: core nodes by region.
var shapes = [][]int{{1, 1}, {3}, {1, 3}, {1, 1, 1}, {3, 1}, {3, 3}}

func newSchedule(seed uint64) *schedule {
	d := dice{rand.New(rand.NewPCG(seed, 0x5EED))}
	nodes := shapes[seed%uint64(len(shapes))]
	s := &schedule{pace: d.upTo(400 * time.Millisecond), lasts: 5*time.Second + d.upTo(20*time.Second)}
	s.options = Options{Seed: seed, Regions: []string{"eu", "us", "ap"}[:len(nodes)], Nodes: nodes,
		OneWay: time.Millisecond + d.upTo(80*time.Millisecond), OneSided: d.IntN(3) == 0}
	if d.IntN(2) == 0 {
		s.options.Jitter = time.Millisecond + d.upTo(20*time.Millisecond)
	}
	if d.IntN(2) == 0 {
		s.loss, s.twice = d.Float64()*0.05, d.Float64()*0.05
	}
	if seed%2 == 1 {
		s.options.Grace = 5 * time.Second
	}
	for range faultsLeast + d.IntN(faultsMost-faultsLeast+1) {
		s.faults = append(s.faults, s.draw(d))
	}
	slices.SortFunc(s.faults, func(a, b fault) int { return int(a.at - b.at) })
	return s
}

// dice draw what a schedule needs.
type dice struct{ *rand.Rand }

func (d dice) upTo(t time.Duration) time.Duration { return time.Duration(d.Int64N(int64(t))) }

func (l *Lab) after(d time.Duration, do func()) {
	l.lives.Go(func() {
		select {
		case <-time.After(d):
			do()
		case <-l.end:
		}
	})
}

// start starts a node, again and again until it starts.
func (l *Lab) start(n *Node) {
	if err := n.Start(); err != nil {
		l.log.note(n.Name, err.Error())
		l.after(restartIn, func() { l.start(n) })
	}
}

// Wait for what must come after the faults; on the virtual clock.
const settleIn, calmIn = time.Minute, 2 * time.Minute

// inLab calls f with a lab, and stops that; an error comes with the end of the lab's log.
func inLab(o Options, f func(*Lab) error) error {
	l, err := New(o)
	if err != nil {
		return err
	}
	err = f(l)
	tail := l.log.last(logLines)
	if err = errors.Join(err, l.Stop()); err != nil {
		return fmt.Errorf("%w\n%s", err, tail)
	}
	return nil
}

// run plays a seed's schedule and returns what the checker found.
func (s *schedule) run(l *Lab) error {
	l.Net.Disturb(s.loss, s.twice)
	l.populate()
	if err := l.Settle(settleIn); err != nil {
		return err
	}
	var publishing sync.WaitGroup
	for _, p := range l.all() {
		if strings.Contains(p.ID, "pub") {
			publishing.Go(func() { l.stream(p, s.pace) })
		}
	}
	for _, f := range s.faults {
		l.after(f.at, func() {
			l.log.note("", f.name)
			f.do(l)
		})
	}
	time.Sleep(s.lasts)
	publishing.Wait()
	return l.calm()
}

// populate puts into each region two publishers and two subscribers, of QoS 1 and
// 2 and with either version of MQTT, the members of a shared subscription, and a
// device that leaves wills.
func (l *Lab) populate() {
	versions := []packet.Version{packet.V5, packet.V311}
	anywhere := l.opt.Takeover != nil
	for i, r := range l.regions {
		for q := range byte(2) {
			v := versions[(i+int(q))%2]
			l.Device(DeviceOptions{Region: r.Name, ID: fmt.Sprintf("%s-pub%d", r.Name, q+1), Version: v, Anywhere: anywhere})
			l.Device(DeviceOptions{Region: r.Name, ID: fmt.Sprintf("%s-sub%d", r.Name, q+1), Version: v, Anywhere: anywhere}).Subscribe(q+1, "t/#", "will/#")
			l.Device(DeviceOptions{Region: r.Name, ID: fmt.Sprintf("%s-member%d", r.Name, q+1), Version: v, Anywhere: anywhere}).Subscribe(2, "$share/g/s/#")
		}
		l.Device(DeviceOptions{Region: r.Name, ID: r.Name + "-mortal", Wills: "will/" + r.Name, WillDelay: uint32(5 * (i % 2)), Anywhere: anywhere})
	}
}

// stream publishes numbered messages of several topics and sizes: most of them
// for everybody, some for the groups, some retained.
func (l *Lab) stream(d *Device, pace time.Duration) { l.streamOf(d, perPublisher, pace) }

func (l *Lab) streamOf(d *Device, messages int, pace time.Duration) {
	qos := d.ID[len(d.ID)-1] - '0'
	for i := range messages {
		m := Message{Topic: fmt.Sprintf("t/%s/%d", d.ID, i%3), QoS: qos, Size: int(l.upTo(600))}
		switch i % 10 {
		case 9:
			m.Size = 8 << 10
		case 3, 6:
			m.Topic = "s/" + d.ID
		case 5:
			m.Topic, m.Retain = "r/"+d.ID, true
		}
		d.Publish(m)
		time.Sleep(1 + l.upTo(pace+1))
	}
}

// calm ends all faults and waits until everything has come.
func (l *Lab) calm() error {
	time.Sleep(5 * time.Second) // what is to be undone later is only healed or started earlier
	l.Net.Disturb(0, 0)
	for _, d := range l.all() {
		d.Online()
	}
	for _, r := range l.regions {
		r.Heal()
		for _, n := range r.nodes {
			n.Disk().Heal()
			l.start(n)
		}
		for _, other := range l.regions {
			l.Net.Heal(r.Name, other.Name)
		}
	}
	if err := l.Await("every acknowledgement", calmIn, l.Idle); err != nil {
		return errors.Join(err, l.state(), l.Check())
	}
	_ = l.Await("everything acknowledged", calmIn, func() bool { return l.Check() == nil })
	time.Sleep(10 * time.Second) // a second copy may be late
	return errors.Join(l.Check(), l.checkRetained(), l.checkCopies())
}

// state says how the nodes are, for a test that failed.
func (l *Lab) state() error {
	var errs []error
	for _, n := range l.Nodes() {
		ok, why := n.Ready()
		errs = append(errs, fmt.Errorf("%s: ready %v %s, leads %v", n.Name, ok, why, n.Leads()))
	}
	return errors.Join(errs...)
}
