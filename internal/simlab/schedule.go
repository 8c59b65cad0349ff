package simlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
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

// fault is one bad thing, which undoes itself.
type fault struct {
	at   time.Duration
	name string
	do   func(*Lab)
}

func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "regions %v, one way %s + %s, loss %.3f, doubled %.3f, one-sided %v", s.options.Regions, s.options.OneWay, s.options.Jitter,
		s.loss, s.twice, s.options.OneSided)
	for _, f := range s.faults {
		fmt.Fprintf(&b, "\n%10s %s", f.at, f.name)
	}
	return b.String()
}

// Sizes of a run. Few messages: real time is paid for each of them, virtual time
// is free.
const (
	perPublisher = 40
	faultsMost   = 9
	faultsLeast  = 4
)

func newSchedule(seed uint64) *schedule {
	d := dice{rand.New(rand.NewPCG(seed, 0x5EED))}
	s := &schedule{pace: d.upTo(400 * time.Millisecond), lasts: 5*time.Second + d.upTo(25*time.Second)}
	s.options = Options{Seed: seed, Regions: []string{"eu", "us", "ap"}[:1+min(2, 1+int(seed%3)/2)], OneWay: time.Millisecond + d.upTo(80*time.Millisecond), OneSided: d.IntN(3) == 0}
	if d.IntN(2) == 0 {
		s.options.Jitter = time.Millisecond + d.upTo(20*time.Millisecond)
	}
	if d.IntN(2) == 0 {
		s.loss, s.twice = d.Float64()*0.05, d.Float64()*0.05
	}
	for range faultsLeast + d.IntN(faultsMost-faultsLeast+1) {
		s.faults = append(s.faults, s.draw(d))
	}
	return s
}

// dice draw what a schedule needs.
type dice struct{ *rand.Rand }

func (d dice) upTo(t time.Duration) time.Duration { return time.Duration(d.Int64N(int64(t))) }

// draw makes one fault. All numbers are drawn here, so that they are the seed's.
func (s *schedule) draw(d dice) fault {
	f := fault{at: d.upTo(s.lasts)}
	names := s.options.Regions
	i := d.IntN(len(names))
	a, b := names[i], names[(i+1)%len(names)]
	down, long, n, seed := d.upTo(3*time.Second), d.upTo(12*time.Second), 1+d.IntN(60), d.Uint64()
	switch d.IntN(12) {
	case 0, 1, 2:
		f.name = fmt.Sprintf("crash %s at its disk operation %d, for %s", a, n, down)
		f.do = func(l *Lab) { l.crashAt(a, n, down) }
	case 3:
		f.name = fmt.Sprintf("crash %s, a part of what was not synced survives, for %s", a, down)
		f.do = func(l *Lab) {
			l.Region(a).CrashKeeping(seed, n)
			l.after(down, func() { l.start(a) })
		}
	case 4, 5:
		f.name = fmt.Sprintf("cut %s-%s for %s", a, b, long)
		f.do = func(l *Lab) {
			l.Net.Cut(a, b)
			l.after(long, func() { l.Net.Heal(a, b) })
		}
	case 6:
		f.name = fmt.Sprintf("cut %s->%s for %s", a, b, long)
		f.do = func(l *Lab) {
			l.Net.CutOneWay(a, b)
			l.after(long, func() { l.Net.Heal(a, b) })
		}
	case 7:
		f.name = fmt.Sprintf("lose every third packet for %s", down)
		f.do = func(l *Lab) {
			l.Net.Disturb(0.3, 0.1)
			l.after(down, func() { l.Net.Disturb(s.loss, s.twice) })
		}
	case 8:
		f.name = fmt.Sprintf("the disk of %s fails one sync, or is full for %s", a, down/4)
		f.do = func(l *Lab) { l.spoil(a, n%2 == 0, down/4) }
	case 9:
		f.name = fmt.Sprintf("all devices lose their connection, every second stays away for %s", down)
		f.do = func(l *Lab) { l.shake(down) }
	case 10, 11:
		f.name = fmt.Sprintf("%d times, each device loses an acknowledgement with its connection", n/10+1)
		f.do = func(l *Lab) { l.loseAcks(n/10 + 1) }
	}
	return f
}

func (l *Lab) after(d time.Duration, do func()) {
	l.lives.Go(func() {
		select {
		case <-time.After(d):
			do()
		case <-l.end:
		}
	})
}

// start starts a region, again and again until it starts.
func (l *Lab) start(region string) {
	if err := l.Region(region).Start(); err != nil {
		l.log.note(region, err.Error())
		l.after(restartIn, func() { l.start(region) })
	}
}

// crashAt crashes a region at its n-th disk operation, or after a second when it
// does not write so much.
func (l *Lab) crashAt(region string, n int, down time.Duration) {
	r := l.Region(region)
	crashed := r.CrashAtOp(n)
	l.lives.Go(func() {
		select {
		case <-crashed:
		case <-time.After(time.Second):
			r.Crash()
		}
		time.Sleep(down)
		l.start(region)
	})
}

var errDisk = errors.New("input/output error")

func (l *Lab) spoil(region string, full bool, lasts time.Duration) {
	disk := l.Region(region).Disk()
	if full {
		disk.FillUp(0)
	} else {
		l.Region(region).FailSyncOnce(errDisk)
	}
	l.after(lasts, disk.Heal)
}

func (l *Lab) shake(away time.Duration) {
	for i, d := range l.all() {
		if i%2 == 0 {
			d.Cut()
			continue
		}
		d.Offline()
		l.after(away, d.Online)
	}
}

// loseAcks makes every device lose acknowledgements, one after the other.
func (l *Lab) loseAcks(times int) {
	for i := range times {
		l.after(time.Duration(i)*200*time.Millisecond, func() {
			for _, d := range l.all() {
				d.LoseNext()
			}
		})
	}
}

// Wait for what must come after the faults; on the virtual clock.
const settleIn, calmIn = time.Minute, 2 * time.Minute

// run plays a seed's schedule and returns what the checker found.
func run(s *schedule) (err error) {
	l, err := New(s.options)
	if err != nil {
		return err
	}
	defer func() {
		tail := l.log.last(60)
		if stopped := l.Stop(); stopped != nil {
			err = errors.Join(err, stopped)
		}
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, tail)
		}
	}()
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

// populate puts two publishers and two subscribers into each region, of QoS 1
// and 2, with either version of MQTT.
func (l *Lab) populate() {
	versions := []packet.Version{packet.V5, packet.V311}
	for i, r := range l.regions {
		for q := range byte(2) {
			v := versions[(i+int(q))%2]
			l.Device(DeviceOptions{Region: r.Name, ID: fmt.Sprintf("%s-pub%d", r.Name, q+1), Version: v})
			l.Device(DeviceOptions{Region: r.Name, ID: fmt.Sprintf("%s-sub%d", r.Name, q+1), Version: v}).Subscribe(q+1, "t/#")
		}
	}
}

// stream publishes numbered messages of several topics and sizes.
func (l *Lab) stream(d *Device, pace time.Duration) {
	qos := d.ID[len(d.ID)-1] - '0'
	for i := range perPublisher {
		m := Message{Topic: fmt.Sprintf("t/%s/%d", d.ID, i%3), QoS: qos, Size: int(l.upTo(600))}
		if i%10 == 9 {
			m.Size = 8 << 10
		}
		d.Publish(m)
		time.Sleep(1 + l.upTo(pace+1))
	}
}

// calm ends all faults and waits until everything has come.
func (l *Lab) calm() error {
	time.Sleep(15 * time.Second) // the longest fault, cut short by nothing
	l.Net.Disturb(0, 0)
	for _, d := range l.all() {
		d.Online()
	}
	for _, r := range l.regions {
		r.Disk().Heal()
		l.start(r.Name)
		for _, other := range l.regions {
			l.Net.Heal(r.Name, other.Name)
		}
	}
	if err := l.Await("every acknowledgement", calmIn, l.Idle); err != nil {
		return errors.Join(err, l.Check())
	}
	_ = l.Await("everything acknowledged", calmIn, func() bool { return l.Check() == nil })
	time.Sleep(10 * time.Second) // a second copy may be late
	return l.Check()
}
