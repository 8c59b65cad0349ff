package takeover

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
)

// The model: three regions that all vote, one home. Every order in which requests are
// answered or not, voters and hosts crash and come back, copies are shipped, the home is
// handed over, and an operator forces a failover, within small bounds. The decisions are
// the program's own; what is around them is as small as it can be.
//
// Times are kept relative to now, so that the search ends by itself. A request and its
// answer are one step: what takes longer promises less. A crash and the start after it are
// one, too: who is down is as one who says nothing.

const sites = 3

var names = []string{"eu", "us", "ap"}

// A second is the model's unit of time; all clocks run alike, and Hold allows for
// nothing else.
var terms = Terms{Lease: 2 * time.Second, Hold: 2 * time.Second}

type epoch struct{ n, host uint8 }

func (e epoch) real() home.Epoch {
	if e.n == 0 {
		return home.Epoch{}
	}
	return home.Epoch{Number: uint64(e.n), Host: names[e.host]}
}

func modelled(e home.Epoch) epoch {
	return epoch{uint8(e.Number), uint8(max(0, slices.Index(names, e.Host)))}
}

// now is any time; what is older than a lease is nothing any more.
const now = 100 * time.Second

// never is the age of what was not asked.
const never = -1

// site is one region: a voter, and a copy of the home.
type site struct {
	// durable
	promised epoch
	epoch    epoch // of the copy
	handed   bool
	log      [sites * 3]uint8 // messages, 1 and up; 0 is none
	taken    [sites]epoch     // by region: of which epoch its copy was taken in last; part of what is shipped

	// of this run
	left      int8 // of the voter's promise
	hosts     bool // it is the host of epoch, or was when it was heard of last
	confirmed bool
	inForce   epoch
	stands    epoch       // a candidate for it; zero: it is none
	asked     [sites]int8 // how long ago for the promises for epoch or stands
}

type state struct {
	sites   [sites]site
	acked   uint16 // messages, as bits
	crashes uint8
	forced  uint8 // times
}

// world is the bounds of a search and the mistakes that are planted in it.
type world struct {
	policy  Policy
	crashes uint8
	number  uint8 // of the highest epoch
	sent    uint8 // messages
	force   uint8 // times that an operator forces a failover, to whichever copy
	hand    bool
	back    bool // fenced copies, and those of standbys that went another way, are taken in and stand by

	still bool // nobody asks for promises: all is by the operator's word

	forgetful bool // voters forget promises in a crash
	hasty     bool // voters that were restarted promise at once
	minority  bool // one voter is enough
	deaf      bool // who handed the home over goes on
	sure      bool // a majority decides although the host does not need one
	careless  bool // a fenced copy is overwritten by the one in force
	oneCopy   bool // of the copies of an epoch one is taken in
}

func (w *world) first() state {
	s := state{}
	for i := range s.sites {
		x := &s.sites[i]
		x.epoch, x.promised = epoch{1, 0}, epoch{1, 0}
		x.unask()
	}
	s.sites[0].hosts, s.sites[0].confirmed = true, w.still
	return s
}

func seconds(n int8) time.Duration { return time.Duration(n) * time.Second }

func (x *site) length() (n uint8) {
	for n < uint8(len(x.log)) && x.log[n] != 0 {
		n++
	}
	return n
}

func (x *site) position() Position { return Position{x.epoch.real(), home.Seq(x.length())} }

func (x *site) host(w *world) *Host {
	return &Host{Epoch: x.epoch.real(), Handed: x.handed && !w.deaf, InForce: x.inForce.real(), Confirmed: x.confirmed, Promises: x.promises(x.epoch)}
}

func (x *site) promises(e epoch) Promises {
	p := Promises{Epoch: e.real()}
	for i, age := range x.asked {
		if age != never {
			p.Take(names[i], e.real(), now-seconds(age))
		}
	}
	return p
}

func (x *site) voter() *Voter {
	return &Voter{Promised: x.promised.real(), Until: now + seconds(x.left)}
}

// keep takes over what a voter decided.
func (x *site) keep(v *Voter) {
	x.promised, x.left = modelled(v.Promised), int8(max(0, v.Until-now)/time.Second)
}

func (w *world) serving(s *state, i int) bool {
	x := &s.sites[i]
	return x.hosts && x.host(w).Standing(now, w.majorityOf(x), w.policy) == Serving
}

// majorityOf is who has to promise to x: with the planted mistake whoever did.
func (w *world) majorityOf(x *site) []string {
	if !w.minority {
		return names
	}
	for i, at := range x.asked {
		if at != never {
			return names[i : i+1]
		}
	}
	return names
}

// next calls visit with each state that may follow s, and what happened.
func (w *world) next(s state, visit func(string, state)) {
	n := s
	for i := range n.sites {
		n.sites[i].age()
	}
	if !w.still {
		visit("a second passes", n)
	}
	for i := range sites {
		w.alone(s, i, visit)
		for j := range sites {
			w.between(s, i, j, visit)
		}
	}
}

// age lets a second pass.
func (x *site) age() {
	x.left = max(0, x.left-1)
	for j := range x.asked {
		if x.asked[j] != never {
			x.asked[j]++
		}
		if seconds(x.asked[j]) >= terms.Lease {
			x.asked[j] = never
		}
	}
}

// alone is what a region does by itself.
func (w *world) alone(s state, i int, visit func(string, state)) {
	x := &s.sites[i]
	if s.crashes < w.crashes {
		n := s
		n.crashes++
		w.crash(&n, i)
		visit(names[i]+" crashes and starts again", n)
	}
	serves := w.serving(&s, i)
	if total := slices.Max([]uint8{s.sites[0].length(), s.sites[1].length(), s.sites[2].length()}); serves && total < w.sent {
		n := s
		id := uint8(1)
		for n.acked&(1<<id) != 0 {
			id++
		}
		n.acked |= 1 << id
		n.sites[i].log[x.length()] = id
		visit(fmt.Sprintf("%s acknowledges message %d", names[i], id), n)
	}
	if !x.hosts && x.stands == (epoch{}) {
		if e := modelled(Next(names[i], x.epoch.real(), x.promised.real(), x.inForce.real())); e.n <= w.number {
			if w.policy.Votes() || w.sure {
				n := s
				y := &n.sites[i]
				y.stands = e
				y.unask()
				visit(fmt.Sprintf("%s stands for %v", names[i], e.real()), n)
			}
			if s.forced < w.force {
				n := s
				n.forced++
				y := &n.sites[i]
				y.promote(e)
				y.confirmed = true
				visit(fmt.Sprintf("%s is forced to %v", names[i], e.real()), n)
			}
		}
	}
}

func (x *site) unask() {
	for j := range x.asked {
		x.asked[j] = never
	}
}

func (x *site) promote(e epoch) {
	x.epoch, x.hosts, x.handed, x.stands = e, true, false, epoch{}
}

func (w *world) crash(s *state, i int) {
	x := &s.sites[i]
	v := x.voter()
	if !w.hasty {
		v.Resume(now, terms)
	}
	*x = site{promised: x.promised, epoch: x.epoch, handed: x.handed, log: x.log, taken: x.taken, hosts: x.hosts}
	x.keep(v)
	x.unask()
	if w.hasty {
		x.left = 0
	}
	if w.forgetful {
		x.promised = epoch{1, 0}
	}
}

// between is what i does to j.
func (w *world) between(s state, i, j int, visit func(string, state)) {
	x, y := &s.sites[i], &s.sites[j]
	if !w.still && (x.stands != (epoch{}) || x.hosts && !x.handed && x.inForce.real().Compare(x.epoch.real()) <= 0) {
		w.ask(s, i, j, visit)
	}
	if i == j {
		return
	}
	if w.serving(&s, i) {
		n := s
		h := y.host(w)
		h.Hear(x.epoch.real())
		n.sites[j].inForce = modelled(h.InForce)
		visit(fmt.Sprintf("%s hears that %s serves at %v", names[j], names[i], x.epoch.real()), n)
	}
	if w.back && w.serving(&s, i) && (w.fenced(y) || !y.hosts && !x.follows(y)) && y.epoch.real().Compare(x.epoch.real()) < 0 {
		w.takeIn(s, i, j, visit)
	}
	if x.hosts && !y.hosts && !x.handed && x.follows(y) {
		n := s
		n.sites[j].log, n.sites[j].taken, n.sites[j].epoch = x.log, x.taken, x.epoch
		visit(fmt.Sprintf("%s ships to %s", names[i], names[j]), n)
		if w.hand && y.log == x.log && y.epoch == x.epoch && w.serving(&s, i) && x.epoch.n < w.number {
			w.handOver(s, i, j, visit)
		}
	}
}

// fenced says that a copy was served from and has heard of a higher epoch, or was
// handed over.
func (w *world) fenced(x *site) bool {
	if !x.hosts {
		return false
	}
	st := x.host(w).Standing(now, names, w.policy)
	return st == Fenced || st == Gone
}

// takeIn gives i what j's copy went on to, and j i's copy.
func (w *world) takeIn(s state, i, j int, visit func(string, state)) {
	x, y := &s.sites[i], &s.sites[j]
	n := x.length()
	known := x.taken[j] == y.epoch || w.oneCopy && slices.Contains(x.taken[:], y.epoch)
	for _, id := range y.log {
		if id != 0 && !known && !slices.Contains(x.log[:n], id) && !w.careless {
			x.log[n] = id
			n++
		}
	}
	x.taken[j] = y.epoch
	y.log, y.taken, y.epoch, y.handed, y.hosts, y.stands = x.log, x.taken, x.epoch, false, false, epoch{}
	y.unask()
	visit(fmt.Sprintf("%s takes in what %s has, which stands by", names[i], names[j]), s)
}

func (w *world) handOver(s state, i, j int, visit func(string, state)) {
	x := s.sites[i]
	s.sites[i].handed = true
	y := &s.sites[j]
	y.stands = modelled(Next(names[j], x.epoch.real(), y.promised.real()))
	y.unask()
	for k := range sites {
		v := s.sites[k].voter()
		v.Release(x.epoch.real())
		s.sites[k].keep(v)
	}
	visit(fmt.Sprintf("%s hands over to %s", names[i], names[j]), s)
}

// follows says that y's copy is a beginning of x's.
func (x *site) follows(y *site) bool {
	n := y.length()
	return n <= x.length() && slices.Equal(x.log[:n], y.log[:n]) && y.epoch.real().Compare(x.epoch.real()) <= 0
}

// ask asks j for a promise to i.
func (w *world) ask(s state, i, j int, visit func(string, state)) {
	x := &s.sites[i]
	a := Ask{Epoch: x.epoch.real(), At: x.position()}
	if x.stands != (epoch{}) {
		a.Epoch, a.Candidate = x.stands.real(), true
	}
	v := s.sites[j].voter()
	if v.Answer(now, a, terms) != Yes {
		return
	}
	s.sites[j].keep(v)
	w.take(&s, i, j)
	visit(fmt.Sprintf("%s promises %v to %s", names[j], a.Epoch, names[i]), s)
}

// take gives i the promise of j.
func (w *world) take(s *state, i, j int) {
	x := &s.sites[i]
	x.asked[j] = 0
	if x.stands == (epoch{}) {
		h := x.host(w)
		h.Confirm(now, w.majorityOf(x), w.policy)
		x.confirmed = h.Confirmed
		return
	}
	p := x.promises(x.stands)
	if until, ok := p.Until(w.majorityOf(x), terms); ok && now < until {
		x.promote(x.stands)
		x.confirmed = true
	}
}

// check is what must hold in every state.
func (w *world) check(s *state) error {
	var serve []int
	seen := uint16(0)
	for i := range sites {
		if w.serving(s, i) {
			serve = append(serve, i)
		}
		for _, id := range s.sites[i].log {
			if id != 0 {
				seen |= 1 << id
			}
		}
		for j := range i {
			if x, y := &s.sites[i], &s.sites[j]; x.hosts && y.hosts && x.epoch == y.epoch {
				return fmt.Errorf("%s and %s host the home at epoch %v", names[j], names[i], x.epoch.real())
			}
		}
	}
	if len(serve) > 1 && s.forced == 0 {
		return fmt.Errorf("%s and %s serve at once", names[serve[0]], names[serve[1]])
	}
	if s.acked&^seen != 0 {
		return fmt.Errorf("an acknowledged message is on no disk")
	}
	return nil
}

type step struct {
	from uint64
	what string
}

// explore visits every state within the bounds and returns how many there are.
func (w *world) explore() (int, error) {
	seed := maphash.MakeSeed()
	sum := func(s state) uint64 { return maphash.Comparable(seed, s) }
	start := w.first()
	seen := map[uint64]step{sum(start): {}}
	queue := []state{start}
	var bad error
	for len(queue) > 0 && bad == nil {
		s := queue[0]
		queue = queue[1:]
		from := sum(s)
		w.next(s, func(what string, n state) {
			k := sum(n)
			if _, known := seen[k]; known || bad != nil {
				return
			}
			seen[k] = step{from, what}
			if err := w.check(&n); err != nil {
				bad = fmt.Errorf("%w:\n%s", err, trace(seen, k))
			}
			queue = append(queue, n)
		})
	}
	return len(seen), bad
}

func trace(seen map[uint64]step, k uint64) string {
	var lines []string
	for seen[k].what != "" {
		lines = append(lines, seen[k].what)
		k = seen[k].from
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

var (
	auto   = Policy{Mode: Auto, Terms: terms}
	manual = Policy{Mode: Manual, Isolation: Serve, Terms: terms}
	fence  = Policy{Mode: Manual, Isolation: SelfFence, Terms: terms}
)

// Whatever is lost, late or down: no two regions serve at once but by an operator's
// word, none host the home at one epoch, and what was acknowledged is on some disk.
func TestModel(t *testing.T) {
	for name, w := range map[string]*world{
		"auto":                  {policy: auto, number: 2},
		"auto, a crash":         {policy: auto, number: 2, crashes: 1},
		"auto, handed over":     {policy: auto, number: 2, sent: 1, hand: true},
		"self-fence, forced":    {policy: fence, number: 2, sent: 1, force: 1},
		"manual, forced, crash": {policy: manual, number: 2, sent: 1, force: 1, crashes: 1},
		"manual, forced, back":  {policy: manual, number: 2, sent: 3, force: 1, back: true, still: true},
		"manual, forced back":   {policy: manual, number: 3, sent: 3, force: 2, back: true, still: true},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := w.explore()
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d states", n)
		})
	}
}

// A search that finds nothing proves nothing: each planted mistake is found.
func TestModel_PlantedMistakes(t *testing.T) {
	for name, w := range map[string]*world{
		"voters forget promises":               {policy: auto, number: 2, crashes: 1, forgetful: true},
		"voters promise at once":               {policy: auto, number: 2, crashes: 1, hasty: true},
		"one voter is enough":                  {policy: auto, number: 2, minority: true},
		"who handed over goes on":              {policy: auto, number: 2, sent: 1, hand: true, deaf: true},
		"votes against a host without a lease": {policy: manual, number: 2, sure: true},
		"a fenced copy is overwritten":         {policy: manual, number: 2, sent: 2, force: 1, back: true, still: true, careless: true},
		"one copy of an epoch is taken in":     {policy: manual, number: 2, sent: 3, force: 1, back: true, still: true, oneCopy: true},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := w.explore()
			if err == nil {
				t.Errorf("nothing found in %d states", n)
				return
			}
			t.Logf("%d states: %v", n, err)
		})
	}
}
