package drill

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Span is a phase as it is judged: from the moment at which the disaster began.
type Span struct {
	Name       string
	Begin, End time.Time
	Planned    bool // nothing may be lost, late or doubled
	Moves      bool // devices lose their connections
}

// Stranded is why messages that were acknowledged never came.
type Stranded struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Sums are what canaries of one kind sent and saw in all.
type Sums struct {
	Client      string `json:"client"`
	Devices     int    `json:"devices"`
	Sent        int    `json:"sent"`
	Acked       int    `json:"acknowledged"`
	Received    int    `json:"received"`
	Lost        int    `json:"lost"`
	DoubledQoS1 int    `json:"doubled_qos1"`
	DoubledQoS2 int    `json:"doubled_qos2"`
	Connects    int    `json:"connects"`
}

// Verdict is what ledgers show.
type Verdict struct {
	Phases   []map[string]float64 // of each span, by the names of Metrics; -1: not seen
	Stranded []Stranded
	Clients  []Sums
	Canaries int
}

// message is one that a canary sent.
type message struct {
	sent, acked int64
	arrivals    []int64
}

type canary struct {
	Canary
	connects []connect
	losses   []int64
	signs    []int64 // acknowledgements or arrivals
}

type connect struct {
	at      int64
	present bool
}

type stream struct {
	qos      byte
	pub, sub *canary
	messages map[uint64]*message
	order    []uint64 // of first arrivals
	orphaned bool     // its canaries died with the conductor, and those of a later round went on
}

// RoundStep is between the numbers of the streams of one round of canaries and the next; a drill that is resumed begins one.
const RoundStep = 1_000_000

// Judge holds ledgers against promises. It is given one ledger after another, then Verdict.
type Judge struct {
	canaries []*canary
	byDevice map[int]*canary // of the ledger that is read
	streams  map[uint32]*stream
	wills    []will
}

type will struct {
	stream uint32
	n      uint64
	at     int64
}

// NewJudge begins with no ledger.
func NewJudge() *Judge { return &Judge{streams: map[uint32]*stream{}} }

// Begin begins another ledger: devices are numbered in each anew.
func (j *Judge) Begin() { j.byDevice = map[int]*canary{} }

// Add takes in a line.
func (j *Judge) Add(e Entry) {
	if e.Canary != nil {
		c := &canary{Canary: *e.Canary}
		j.canaries, j.byDevice[c.Device] = append(j.canaries, c), c
		switch s := j.stream(c.Stream); c.Role {
		case "pub":
			s.pub, s.qos = c, c.QoS
		case "sub":
			s.sub = c
		}
		return
	}
	c := j.byDevice[e.Device]
	if c == nil {
		return // a ledger that begins in the middle says nothing
	}
	switch e.Saw {
	case SawSent:
		j.message(e).sent = e.At
	case SawAck:
		if m := j.message(e); m.acked == 0 {
			m.acked = e.At
		}
		c.signs = append(c.signs, e.At)
	case SawArrival:
		m := j.message(e)
		if m.arrivals = append(m.arrivals, e.At); len(m.arrivals) == 1 {
			s := j.stream(e.Stream)
			s.order = append(s.order, e.N)
		}
		c.signs = append(c.signs, e.At)
	case SawConnect:
		c.connects = append(c.connects, connect{e.At, e.Present})
	case SawLoss:
		c.losses = append(c.losses, e.At)
	case SawWill:
		j.wills = append(j.wills, will{e.Stream, e.N, e.At})
	}
}

func (j *Judge) stream(n uint32) *stream {
	s := j.streams[n]
	if s == nil {
		s = &stream{messages: map[uint64]*message{}}
		j.streams[n] = s
	}
	return s
}

func (j *Judge) message(e Entry) *message {
	s := j.stream(e.Stream)
	m := s.messages[e.N]
	if m == nil {
		m = &message{}
		s.messages[e.N] = m
	}
	return m
}

// Verdict says what came of it. What happened between two spans belongs to the later one, what
// came after the last to the last.
func (j *Judge) Verdict(spans []Span) Verdict {
	v := Verdict{Canaries: len(j.canaries)}
	j.findOrphans()
	for i := range spans {
		m := map[string]float64{}
		for _, x := range Metrics {
			m[x.Name] = none
		}
		for _, x := range []string{"away", "unavailable", "lost", "doubled_qos1", "doubled_qos2", "reordered", "forgotten", "false_wills"} {
			m[x] = 0
		}
		v.Phases = append(v.Phases, m)
		j.served(&spans[i], m)
		m["false_wills"] = float64(j.falseWills(&spans[i]))
	}
	stranded := map[string]int{}
	for _, n := range slices.Sorted(maps.Keys(j.streams)) {
		j.judge(j.streams[n], spans, v.Phases, stranded)
	}
	for _, c := range j.canaries {
		for i, x := range c.connects {
			if i > 0 && !x.present && len(spans) > 0 {
				v.Phases[spanOf(spans, x.at)]["forgotten"]++
			}
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(stranded)) {
		v.Stranded = append(v.Stranded, Stranded{reason, stranded[reason]})
	}
	v.Clients = j.sums()
	return v
}

// findOrphans finds the canaries that died with the conductor: those of a later round went on.
func (j *Judge) findOrphans() {
	last := uint32(0)
	for n := range j.streams {
		last = max(last, n/RoundStep)
	}
	for n, s := range j.streams {
		s.orphaned = n/RoundStep < last
	}
}

// spanOf is the span that a moment belongs to.
func spanOf(spans []Span, at int64) int {
	for i := range spans {
		if at <= spans[i].End.UnixNano() {
			return i
		}
	}
	return len(spans) - 1
}

// judge goes through the messages of one stream.
func (j *Judge) judge(s *stream, spans []Span, phases []map[string]float64, stranded map[string]int) {
	if s.pub == nil || len(spans) == 0 {
		return
	}
	late := make([]map[uint64]bool, len(spans))
	for i := range spans {
		late[i] = s.late(&spans[i], i, spans)
		if !spans[i].Moves {
			continue // what waits for a link is in its spool, as promised
		}
		phases[i]["unavailable"] += float64(len(late[i]))
	}
	highest, any := uint64(0), false
	for _, n := range s.order {
		m := s.messages[n]
		i := spanOf(spans, m.arrivals[0])
		if any && n < highest && !wasLate(late, n) && !s.pub.Blind {
			phases[i]["reordered"]++
		}
		highest, any = max(highest, n), true
		for _, again := range m.arrivals[1:] {
			phases[spanOf(spans, again)][map[byte]string{1: "doubled_qos1", 2: "doubled_qos2"}[s.qos]]++
		}
	}
	for _, m := range s.messages {
		switch {
		case m.acked == 0 || len(m.arrivals) > 0:
		case s.orphaned:
			stranded["nobody looked any more: the conductor had died"]++
		default:
			phases[spanOf(spans, m.sent)]["lost"]++
			stranded[s.why(m)]++
		}
	}
}

func wasLate(late []map[uint64]bool, n uint64) bool {
	return slices.ContainsFunc(late, func(m map[uint64]bool) bool { return m[n] })
}

// late are the messages that were sent before a span, acknowledged, and not there when something
// came that was sent after it began: they did not come in order, so they were not available.
//
// A region that is cut off serves its devices until its lease ends: what it acknowledged in the
// span, before the publisher lost it, is judged likewise by what was sent afterwards.
//
// A client of another make sends what it was given while it had no connection when and in the order it likes: of its messages
// those count that were acknowledged by then.
func (s *stream) late(p *Span, i int, spans []Span) map[uint64]bool {
	begin, from := p.Begin.UnixNano(), int64(math.MinInt64)
	if i > 0 {
		from = spans[i-1].End.UnixNano()
	}
	out := map[uint64]bool{}
	s.passed(begin, func(m *message) bool { return m.sent <= begin && m.sent > from && (!s.pub.Blind || m.acked <= begin) }, out)
	if lost := s.pub.lostSince(begin, p.End.UnixNano()); p.Moves && !p.Planned && lost > begin {
		s.passed(lost, func(m *message) bool { return m.sent > begin && m.acked <= lost }, out)
	}
	return out
}

// passed adds those messages, acknowledged, that were not there when something came that was sent
// after a moment.
func (s *stream) passed(after int64, of func(*message) bool, out map[uint64]bool) {
	passed := int64(math.MaxInt64)
	for _, m := range s.messages {
		if m.sent > after && len(m.arrivals) > 0 {
			passed = min(passed, m.arrivals[0])
		}
	}
	if passed == math.MaxInt64 {
		return // nothing came: what is missing is judged at the end
	}
	for n, m := range s.messages {
		if m.acked != 0 && of(m) && (len(m.arrivals) == 0 || m.arrivals[0] > passed) {
			out[n] = true
		}
	}
}

// why is the reason for which an acknowledged message did not come, as far as it shows from outside.
func (s *stream) why(m *message) string {
	switch {
	case s.sub == nil:
		return "nobody subscribed"
	case slices.ContainsFunc(s.sub.connects[min(1, len(s.sub.connects)):], func(c connect) bool { return !c.present && c.at > m.sent }):
		return "the subscriber's session was forgotten"
	case !s.sub.Blind && len(s.sub.losses) > 0 && (len(s.sub.connects) == 0 || s.sub.losses[len(s.sub.losses)-1] > s.sub.connects[len(s.sub.connects)-1].at):
		return "the subscriber did not come back"
	}
	return "not explained"
}

// served says when the devices were served again that lost their connection by what began the span,
// and the longest silence of any.
func (j *Judge) served(p *Span, m map[string]float64) {
	begin, end := p.Begin.UnixNano(), p.End.UnixNano()
	var after []int64
	away, gap := 0, int64(0)
	for _, c := range j.canaries {
		if c.Role == "wills" {
			continue
		}
		orphaned := j.streams[c.Stream].orphaned
		if !orphaned {
			gap = max(gap, c.silence(begin, end))
		} else if len(c.signs) > 0 {
			gap = max(gap, c.silence(begin, min(end, c.signs[len(c.signs)-1])))
		}
		if c.Blind {
			continue
		}
		lost := c.lostSince(begin, end)
		if lost == 0 {
			continue
		}
		i, _ := slices.BinarySearch(c.signs, max(lost, begin)+1)
		if i >= len(c.signs) {
			away += count(!orphaned)
			continue
		}
		after = append(after, c.signs[i]-begin)
	}
	slices.Sort(after)
	m["gap"] = time.Duration(gap).Seconds()
	m["away"] = float64(away)
	for name, q := range map[string]float64{"first_device": 0, "p50": 0.5, "p95": 0.95, "p999": 0.999} {
		i := max(int(math.Ceil(q*float64(len(after)+away)))-1, 0)
		if i < len(after) {
			m[name] = time.Duration(after[i]).Seconds()
		}
	}
}

// lostSince is when the connection ended that the canary had as the span began, or that ended
// before and had no successor by then; 0: it did not in the span.
func (c *canary) lostSince(begin, end int64) int64 {
	for _, x := range c.losses {
		if x > end {
			break
		}
		i := slices.IndexFunc(c.connects, func(k connect) bool { return k.at > x })
		if x >= begin || i < 0 || c.connects[i].at >= begin {
			return x
		}
	}
	return 0
}

// silence is the longest time between two signs of life that is, in part, in the span.
func (c *canary) silence(begin, end int64) (longest int64) {
	last := int64(0)
	for _, at := range c.signs {
		if last != 0 && at >= begin && last <= end {
			longest = max(longest, at-max(last, begin))
		}
		last = at
	}
	if last != 0 && last < end {
		longest = max(longest, end-max(last, begin))
	}
	return longest
}

// falseWills counts wills of the connections that stood when the span began, of publishers that came back.
func (j *Judge) falseWills(p *Span) (n int) {
	begin, end := p.Begin.UnixNano(), p.End.UnixNano()
	for _, w := range j.wills {
		s := j.streams[w.stream]
		if s == nil || s.pub == nil || w.at < begin || w.at > end {
			continue
		}
		before := 0
		for _, c := range s.pub.connects {
			if c.at < begin {
				before++
			}
		}
		back := len(s.pub.connects) > before
		if int(w.n) == before-1 && back {
			n++
		}
	}
	return n
}

// sums adds up by what speaks at the subscribers' end.
func (j *Judge) sums() []Sums {
	by := map[string]*Sums{}
	of := func(client string) *Sums {
		if by[client] == nil {
			by[client] = &Sums{Client: client}
		}
		return by[client]
	}
	for _, c := range j.canaries {
		x := of(c.Client)
		x.Devices++
		x.Connects += len(c.connects)
	}
	for _, s := range j.streams {
		if s.pub == nil {
			continue
		}
		x := of(s.pub.Client)
		if s.sub != nil {
			x = of(s.sub.Client)
		}
		for _, m := range s.messages {
			x.Sent += count(m.sent != 0)
			x.Acked += count(m.acked != 0)
			x.Received += count(len(m.arrivals) > 0)
			x.Lost += count(m.acked != 0 && len(m.arrivals) == 0 && !s.orphaned)
			if again := len(m.arrivals) - 1; again > 0 && s.qos == 2 {
				x.DoubledQoS2 += again
			} else if again > 0 {
				x.DoubledQoS1 += again
			}
		}
	}
	var list []Sums
	for _, x := range by {
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b Sums) int { return cmp.Compare(a.Client, b.Client) })
	return list
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
