package link

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"causeway/internal/home"
)

// stage is a place on the way of a message from eu's spool to us and of its acknowledgement back.
type stage struct {
	name string
	node string // where it is
	at   seam
	of   home.Op // of this type; nil: on the wire
}

var stages = []stage{
	{"spooled and not sent", "eu", applied, &home.Publish{}},
	{"sent and lost", "eu", 0, nil},
	{"received and not proposed", "us", asked, &home.Frame{}},
	{"proposed and not committed", "us", proposed, &home.Frame{}},
	{"committed and not applied", "us", committed, &home.Frame{}},
	{"applied and not acknowledged", "us", applied, &home.Frame{}},
	{"acknowledged and not trimmed", "eu", asked, &home.Trim{}},
	{"trim proposed and not committed", "eu", proposed, &home.Trim{}},
	{"trim committed and not applied", "eu", committed, &home.Trim{}},
}

var victims = [][]string{{"eu"}, {"us"}, {"eu", "us"}}

// Either node, and both at once, are killed at every stage of a link, at the first message that
// comes there and at a later one: everything acknowledged arrives once and in order.
func TestLink_KilledAtEveryStage(t *testing.T) {
	for _, s := range stages {
		for _, v := range victims {
			for _, nth := range []int{1, 4} {
				t.Run(fmt.Sprintf("%s, at the %d., %s", s.name, nth, strings.Join(v, " and ")), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						if err := newKilling(t, s, v, nth).run(); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
}

// plant is a mistake made on purpose.
type plant int

const (
	noPlant       plant = iota
	noSync              // a crash of eu loses the last entry of its log
	ackFirst            // us acknowledges a frame before it is committed
	forgetCursors       // us has no cursor after a crash
	trimAhead           // eu trims what was not acknowledged
)

// For each kind of stage there is a mistake that shows when a node is killed there.
func TestLink_KilledAtEveryStage_CanFail(t *testing.T) {
	for _, c := range []struct {
		plant  plant
		stage  string
		victim []string
	}{
		{noSync, "spooled and not sent", victims[0]},
		{noSync, "sent and lost", victims[2]},
		{trimAhead, "received and not proposed", victims[1]},
		{ackFirst, "proposed and not committed", victims[1]},
		{forgetCursors, "committed and not applied", victims[1]},
		{forgetCursors, "applied and not acknowledged", victims[2]},
		{forgetCursors, "acknowledged and not trimmed", victims[2]},
		{forgetCursors, "trim proposed and not committed", victims[2]},
		{trimAhead, "trim committed and not applied", victims[2]},
	} {
		i := slices.IndexFunc(stages, func(s stage) bool { return s.name == c.stage })
		bubble(t, func(t *testing.T) {
			k := newKilling(t, stages[i], c.victim, 4)
			k.plant = c.plant
			if err := k.run(); err == nil {
				t.Errorf("mistake %d is not noticed at %q", c.plant, c.stage)
			}
		})
	}
}

// killing is one run: eu publishes to us, nodes are killed at a stage and start again.
type killing struct {
	t       *testing.T
	w       *world
	stage   stage
	victims []string
	nth     int // time that something comes to the stage
	plant   plant

	mu      sync.Mutex
	came    int
	armed   bool
	reached chan struct{} // closed at the stage
	killed  chan struct{} // closed when the victims do nothing more
	frames  uint64        // sent before
	acked   []int         // messages
}

func newKilling(t *testing.T, s stage, victims []string, nth int) *killing {
	return &killing{t: t, stage: s, victims: victims, nth: nth, reached: make(chan struct{}), killed: make(chan struct{})}
}

func (k *killing) run() error {
	k.w = newWorld(k.t, 5*time.Millisecond)
	defer k.w.close()
	k.w.wan.tap = k.onWire
	eu := k.w.tuned("eu", k.plants, peerTo("us"))
	us := k.w.tuned("us", k.plants, peerTo("eu"))
	us.home.subscribe(k.t, "dev", "t")
	wantsKnown(k.t, eu, us)
	up(k.t, us, "eu")
	k.watch(eu)
	k.watch(us)
	k.arm(eu)
	k.publish(eu, 0, 80)
	select {
	case <-k.reached:
	case <-time.After(time.Minute):
		return fmt.Errorf("nothing came to the stage for the %d. time", k.nth)
	}
	k.kill()
	k.publish(eu, 100, 110)
	if !inTime(5*time.Minute, func() bool { return eu.status("us").LagMessages == 0 }) {
		return fmt.Errorf("%d messages wait for us: %s", eu.status("us").LagMessages, eu.status("us").Reason)
	}
	return k.check(us.home.queue(k.t, "dev"))
}

func inTime(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// plants puts a mistake into a node that has one.
func (k *killing) plants(o *tuning) {
	if k.plant == ackFirst || k.plant == trimAhead {
		o.Home = &plantedHome{o.Home.(*testHome), k}
	}
}

// publish publishes numbered messages, until the home has stopped.
func (k *killing) publish(n *node, from, to int) {
	for i := from; i < to; i++ {
		err := n.home.Propose(&home.Publish{Topic: "t", Payload: fmt.Append(nil, i), QoS: 1}, func(_ home.Outcome, err error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			if err == nil {
				k.acked = append(k.acked, i)
			}
		})
		if err != nil {
			return
		}
		select {
		case <-k.reached:
			if from == 0 {
				return
			}
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// watch stops the node's home at the stage.
func (k *killing) watch(n *node) {
	h := n.home
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seam = func(at seam, ops ...home.Op) bool {
		if n.name != k.stage.node || k.stage.of == nil || at != k.stage.at || !slices.ContainsFunc(ops, k.meant) || !k.comes() {
			return false
		}
		h.hold(slices.Contains(k.victims, n.name))
		close(k.reached)
		<-k.killed
		return slices.Contains(k.victims, n.name)
	}
}

// meant says that an operation comes to the stage.
func (k *killing) meant(op home.Op) bool { return op.Kind() == k.stage.of.Kind() }

// comes counts what comes to the stage; true at the one that is waited for.
func (k *killing) comes() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.armed {
		k.came++
	}
	return k.came == k.nth
}

// arm counts from now on.
func (k *killing) arm(eu *node) {
	sent := eu.status("us").Counters.FramesOut
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed, k.frames = true, sent
}

// onWire loses the packet that carries eu's frame, and what follows.
func (k *killing) onWire(p simnet.Packet) bool {
	if k.stage.of != nil || ipOf(p.From) != ip("eu") || !k.isArmed() {
		return false
	}
	if k.w.nodes["eu"].status("us").Counters.FramesOut < k.frames+uint64(k.nth) {
		return false
	}
	select {
	case <-k.killed:
		return false
	case <-k.reached:
	default:
		close(k.reached)
	}
	return true
}

func (k *killing) isArmed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.armed
}

// kill kills the victims, with no word from any, and starts them again.
func (k *killing) kill() {
	k.w.wan.setCut(ip("eu"), ip("us"), true)
	for _, v := range k.victims {
		k.w.wan.crashTCP(ip(v))
		k.w.nodes[v].home.hold(true)
	}
	close(k.killed)
	logs := map[string][][]byte{}
	for _, v := range k.victims {
		logs[v] = k.spoil(v, k.w.nodes[v].stop())
	}
	k.w.wan.setCut(ip("eu"), ip("us"), false)
	for _, v := range k.victims {
		k.w.nodes[v].start(logs[v])
	}
}

// spoil does to a log what a planted mistake does.
func (k *killing) spoil(node string, log [][]byte) [][]byte {
	switch {
	case k.plant == noSync && node == "eu":
		return log[:len(log)-1]
	case k.plant == forgetCursors && node == "us":
		return withoutCursors(k.t, log)
	}
	return log
}

// withoutCursors has a log's frames come from an epoch that nobody asks about.
func withoutCursors(t *testing.T, log [][]byte) (out [][]byte) {
	for _, b := range log {
		rec, err := home.DecodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range rec.Entries {
			for _, op := range e.Ops {
				if f, ok := op.(*home.Frame); ok {
					f.Source.Home = "elsewhere"
				}
			}
		}
		out = append(out, rec.Append(nil))
	}
	return out
}

// check holds what arrived to what was acknowledged.
func (k *killing) check(queue []string) error {
	got := make([]int, len(queue))
	for i, s := range queue {
		if _, err := fmt.Sscan(s, &got[i]); err != nil {
			return err
		}
		if i > 0 && got[i] <= got[i-1] {
			return fmt.Errorf("message %d comes behind %d", got[i], got[i-1])
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.acked {
		if !slices.Contains(got, n) {
			return fmt.Errorf("message %d was acknowledged and is lost; %d arrived", n, len(got))
		}
	}
	return nil
}

// plantedHome makes mistakes with what the link proposes.
type plantedHome struct {
	*testHome
	k *killing
}

func (h *plantedHome) Propose(op home.Op, done func(home.Outcome, error)) error {
	switch op := op.(type) {
	case *home.Frame:
		if h.k.plant == ackFirst {
			done(home.Outcome{Seq: op.To}, nil)
			time.AfterFunc(50*time.Millisecond, func() { _ = h.testHome.Propose(op, func(home.Outcome, error) {}) })
			return nil
		}
	case *home.Trim:
		if h.k.plant == trimAhead {
			ahead := *op
			ahead.To = h.st.HighSeq()
			return h.testHome.Propose(&ahead, done)
		}
	}
	return h.testHome.Propose(op, done)
}
