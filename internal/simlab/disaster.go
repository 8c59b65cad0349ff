package simlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/internal/config"
	"causeway/internal/takeover/agent"
)

// disaster is a schedule of a lab whose regions stand by for each other, and are lost.
type disaster struct {
	schedule
	mode    config.TakeoverMode
	planned bool // nothing that was acknowledged can be only where it is lost
}

// ring is who stands by for whom: each region for the others.
func ring(names []string) map[string][]string {
	all := map[string][]string{}
	for _, of := range names {
		for _, by := range names {
			if by != of {
				all[of] = append(all[of], by)
			}
		}
	}
	return all
}

// disasters are the labs that seeds choose from: core nodes by region.
var disasters = [][]int{{1, 1}, {1, 1, 1}, {1, 1}, {3, 1}}

// hour is for how long sessions and messages live where clocks are wrong, and by how much clocks
// are at least. No seed takes as long.
const hour = time.Hour

func newDisaster(seed uint64) *disaster {
	d := dice{rand.New(rand.NewPCG(seed, 0xD15A))}
	nodes := disasters[seed%uint64(len(disasters))]
	x := &disaster{mode: config.TakeoverAuto}
	x.pace, x.lasts = d.upTo(300*time.Millisecond), 20*time.Second+d.upTo(40*time.Second)
	names := []string{"eu", "us", "ap"}[:len(nodes)]
	t := &Takeover{Standbys: ring(names), Witnesses: []string{"w1"}, WillGrace: time.Second + d.upTo(4*time.Second)}
	if len(names) == 3 { // five voters, so that two may be lost
		t.Witnesses = append(t.Witnesses, "w2")
	}
	switch d.IntN(4) {
	case 0:
		x.mode, t.Isolation = config.TakeoverManual, config.IsolationServe
	case 1:
		x.mode, t.Isolation = config.TakeoverManual, config.IsolationSelfFence
	default:
		t.Isolation = config.IsolationSelfFence
	}
	t.Mode = x.mode
	if d.IntN(3) == 0 {
		t.Acks = []config.AckRule{{Filter: "t/#", Policy: config.AckStandby}}
	}
	x.options = Options{Seed: seed, Regions: names, Nodes: nodes, OneWay: time.Millisecond + d.upTo(50*time.Millisecond), Takeover: t}
	if d.IntN(2) == 0 {
		x.options.Jitter = time.Millisecond + d.upTo(10*time.Millisecond)
	}
	if d.IntN(3) == 0 {
		x.loss, x.twice = d.Float64()*0.03, d.Float64()*0.03
	}
	x.planned = d.IntN(6) == 0
	x.options.WrongSpeeds, x.options.Expiry = d.IntN(2) == 0, uint32(hour/time.Second)
	for range 1 + d.IntN(4) {
		x.faults = append(x.faults, x.strike(d))
	}
	slices.SortFunc(x.faults, func(a, b fault) int { return int(a.at - b.at) })
	return x
}

// String says what the seed drew.
func (x *disaster) String() string {
	t := x.options.Takeover
	return fmt.Sprintf("%s, isolated: %s, acks %v, %s", x.mode, t.Isolation, t.Acks, x.schedule.String())
}

// strike draws one disaster.
func (x *disaster) strike(d dice) fault {
	names := x.options.Regions
	i := d.IntN(len(names))
	if d.IntN(3) > 0 {
		i = 0 // the same home again and again
	}
	a, b := names[i], names[(i+1)%len(names)]
	c := names[(i+2)%len(names)]
	down, soon, times := 3*time.Second+d.upTo(25*time.Second), d.upTo(8*time.Second), 2+d.IntN(5)
	f := fault{at: d.upTo(x.lasts / 2)}
	if x.planned {
		f.name, f.do = x.calmFault(d, a, b, down)
		return f
	}
	jump := hour + d.upTo(240*hour)
	if d.IntN(2) == 0 {
		jump = -jump
	}
	switch d.IntN(14) {
	case 0, 1:
		f.name, f.do = fmt.Sprintf("%s dies, and is back in %s", a, down), func(l *Lab) { l.loseRegion(a, down); l.mayFailOver(x, b, a) }
	case 2:
		f.name, f.do = fmt.Sprintf("%s is cut off from all for %s, and lives", a, down), func(l *Lab) {
			l.CutOff(a)
			l.after(down, func() { l.Rejoin(a) })
			l.mayFailOver(x, b, a)
		}
	case 3:
		f.name, f.do = fmt.Sprintf("nothing gets out of %s for %s", a, down), func(l *Lab) { l.oneSided(a, true, down); l.mayFailOver(x, b, a) }
	case 4:
		f.name, f.do = fmt.Sprintf("nothing gets in to %s for %s", a, down), func(l *Lab) { l.oneSided(a, false, down); l.mayFailOver(x, b, a) }
	case 5:
		f.name, f.do = fmt.Sprintf("%s flaps %d times", a, times), func(l *Lab) { l.flap(a, times) }
	case 6:
		f.name, f.do = fmt.Sprintf("w1 is lost for %s, and %s dies %s later", down, a, soon), func(l *Lab) {
			l.loseWitness(l.witnesses[0], down)
			l.after(soon, func() { l.loseRegion(a, down) })
			l.mayFailOver(x, b, a)
		}
	case 7:
		f.name, f.do = fmt.Sprintf("%s and %s do not see each other, %s dies %s later", a, b, a, soon), func(l *Lab) {
			l.Net.Cut(a, b)
			l.after(soon, func() { l.loseRegion(a, down) })
			l.after(soon+time.Second, func() { l.Net.Heal(a, b) })
			l.mayFailOver(x, b, a)
		}
	case 8, 9:
		f.name, f.do = fmt.Sprintf("%s dies, %s dies %s later, both are back %s after that", a, b, soon, down), func(l *Lab) {
			l.loseRegion(a, soon+down)
			l.after(soon, func() { l.loseRegion(b, down) })
			l.mayFailOver(x, c, a)
		}
	case 10:
		f.name, f.do = fmt.Sprintf("%s dies and is back in %s, in the middle of another failover: %s dies %s later", a, down/2, b, down/2), func(l *Lab) {
			l.loseRegion(a, down/2)
			l.after(down/2, func() { l.loseRegion(b, down) })
			l.mayFailOver(x, b, a)
		}
	case 11:
		f.name, f.do = fmt.Sprintf("%s's clock is wrong by %s, and %s dies %s later", a, jump, a, soon), func(l *Lab) {
			l.wrongClock(a, jump)
			l.after(soon, func() { l.loseRegion(a, down) })
			l.mayFailOver(x, b, a)
		}
	case 12:
		f.name, f.do = fmt.Sprintf("%s's clock is wrong by %s, and %s dies %s later", b, jump, a, soon), func(l *Lab) {
			l.wrongClock(b, jump)
			l.after(soon, func() { l.loseRegion(a, down) })
			l.mayFailOver(x, b, a)
		}
	default:
		f.name, f.do = x.calmFault(d, a, b, down)
	}
	return f
}

// calmFault is one that nothing may be lost or doubled by.
func (x *disaster) calmFault(d dice, a, b string, down time.Duration) (string, func(*Lab)) {
	switch d.IntN(4) {
	case 3:
		return fmt.Sprintf("%s's clock goes an hour back, and an hour too far forward %s later", a, down), func(l *Lab) {
			l.wrongClock(a, -hour)
			l.after(down, func() { l.wrongClock(a, hour) })
		}
	case 0:
		return fmt.Sprintf("w1 is lost for %s", down), func(l *Lab) { l.loseWitness(l.witnesses[0], down) }
	case 1:
		return fmt.Sprintf("%d times, each device loses an acknowledgement with its connection", 3), func(l *Lab) { l.loseAcks(3) }
	}
	return fmt.Sprintf("the home %s is moved to %s, and back", a, b), func(l *Lab) {
		l.switchOver(a, b)
		l.after(down, func() { l.switchOver(a, a) })
	}
}

// switchOver moves a home, if it can be moved.
func (l *Lab) switchOver(id, to string) {
	for _, at := range l.Serving(id) {
		if at == to {
			continue
		}
		if err := l.Region(at).Order(agent.Switchover, agent.Order{Home: homeID(id), To: to, By: "lab"}); err != nil {
			l.log.note(at, err.Error())
		}
	}
}

// loseRegion is the loss of power of all nodes of a region.
func (l *Lab) loseRegion(name string, down time.Duration) {
	r := l.Region(name)
	r.Crash()
	for i, n := range r.nodes {
		l.after(down+time.Duration(i)*down/10, func() { l.start(n) })
	}
}

// oneSided ends what goes out of a region, or into it.
func (l *Lab) oneSided(name string, out bool, lasts time.Duration) {
	for _, other := range l.Net.others(name) {
		if out {
			l.Net.CutOneWay(name, other)
		} else {
			l.Net.CutOneWay(other, name)
		}
	}
	l.after(lasts, func() { l.Rejoin(name) })
}

// flap cuts a region off and joins it again, some times.
func (l *Lab) flap(name string, times int) {
	l.lives.Go(func() {
		for range times {
			l.CutOff(name)
			if !l.sleep(500*time.Millisecond + l.upTo(5*time.Second)) {
				return
			}
			l.Rejoin(name)
			if !l.sleep(500*time.Millisecond + l.upTo(3*time.Second)) {
				return
			}
		}
	})
}

// sleep reports false when the lab ends.
func (l *Lab) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.end:
		return false
	}
}

// mayFailOver is the operator, where voters do not decide.
func (l *Lab) mayFailOver(x *disaster, to, id string) {
	if x.mode == config.TakeoverManual {
		l.after(5*time.Second, func() { l.FailOver(to, id, false, 20*time.Second) })
	}
}

// In three parts: all is well, with exact checks; regions are lost; all is well again, with
// exact checks of what was sent then. Of what was sent meanwhile nothing is lost, but some of
// it may be late, and twice.
func (x *disaster) run(l *Lab) error {
	l.populate()
	if err := l.Settle(settleIn); err != nil {
		return err
	}
	if err := l.Await("the copies", calmIn, func() bool { return l.together() == nil }); err != nil {
		return errors.Join(err, l.together())
	}
	if err := x.part(l, perPublisher/4, nil); err != nil {
		return fmt.Errorf("before anything happened: %w", err)
	}
	l.Net.Disturb(x.loss, x.twice)
	l.setDoubt(!x.planned)
	if err := x.part(l, perPublisher, x.faults); err != nil {
		return err
	}
	l.setDoubt(false)
	if err := x.part(l, perPublisher/4, nil); err != nil {
		return fmt.Errorf("after all was mended: %w", err)
	}
	return errors.Join(l.checkRetained(), l.checkCopies())
}

// part has everybody publish, while things happen, and waits until all is mended.
func (x *disaster) part(l *Lab, messages int, faults []fault) error {
	var publishing sync.WaitGroup
	for _, p := range l.all() {
		if strings.Contains(p.ID, "pub") {
			publishing.Go(func() { l.streamOf(p, messages, x.pace) })
		}
	}
	for _, f := range faults {
		l.after(f.at, func() {
			l.log.note("", f.name)
			f.do(l)
		})
	}
	if len(faults) > 0 {
		time.Sleep(x.lasts)
	}
	publishing.Wait()
	return l.mend()
}

// mend ends all faults, has everything reconciled, and checks.
func (l *Lab) mend() error {
	time.Sleep(5 * time.Second)
	l.Net.Disturb(0, 0)
	for _, r := range l.regions {
		l.Rejoin(r.Name)
		r.Heal()
		for _, n := range r.nodes {
			n.Disk().Heal()
			l.start(n)
		}
	}
	for _, w := range l.witnesses {
		if err := w.Start(); err != nil {
			return err
		}
	}
	var left error
	if err := l.Await("homes to be served", calmIn, func() bool {
		for _, id := range l.opt.Regions {
			if len(l.Serving(id)) != 1 {
				l.revive(id)
				return false
			}
		}
		return true
	}); err != nil {
		return errors.Join(err, l.homes(), l.state())
	}
	if err := l.Await("all to be reconciled", 2*calmIn, func() bool {
		var done bool
		if done, left = l.reconcile(); done && left == nil {
			left = l.together()
		}
		return done && left == nil
	}); err != nil {
		return errors.Join(err, left, l.homes())
	}
	if err := l.Await("every acknowledgement", calmIn, l.Idle); err != nil {
		return errors.Join(err, l.homes(), l.state(), l.Check())
	}
	_ = l.Await("everything acknowledged", calmIn, func() bool { return l.Check() == nil })
	time.Sleep(10 * time.Second) // a second copy may be late
	return l.Check()
}

// revive is the operator who confirms a region that nobody else took over from: after a full
// stop, where an isolated region serves on.
func (l *Lab) revive(id string) {
	if l.opt.Takeover.Mode != config.TakeoverManual || len(l.Serving(id)) > 0 {
		return
	}
	time.Sleep(5 * time.Second)
	if len(l.Serving(id)) > 0 {
		return
	}
	for _, r := range l.hosts(id) {
		if s := r.copyOf(id); s != nil && s.Epoch().Host == r.Name {
			if _, handed := s.Handed(); !handed {
				if err := r.Order(agent.Resume, agent.Order{Home: homeID(id), By: "lab"}); err != nil {
					l.log.note(r.Name, err.Error())
				}
			}
		}
	}
}

// homes says where all copies are, for a test that failed.
func (l *Lab) homes() error {
	var errs []error
	for _, id := range l.opt.Regions {
		for _, r := range l.hosts(id) {
			n, _ := r.aside(id)
			what := fmt.Sprintf("home %s at %s: serves %v, %d set aside", id, r.Name, r.Serves(id), n)
			if s := r.copyOf(id); s != nil {
				what += fmt.Sprintf(", %+v", s.Position())
			}
			if d := r.deciding(); d != nil {
				for _, h := range d.Homes() {
					if string(h.Home) == id {
						what += fmt.Sprintf(", %s %s %s, in force %v, lease %s, voters %+v", h.Role, h.Standing, h.Reason, h.InForce, h.Lease, h.Voters)
					}
				}
			}
			errs = append(errs, errors.New(what))
		}
	}
	return errors.Join(errs...)
}
