package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// ErrNoLink says that no link to a peer is configured.
var ErrNoLink = errors.New("there is no such link")

// ErrTesting says that the link is being tested already.
var ErrTesting = errors.New("the link is being tested already")

// TestOptions say what of a link is tested beside what always is.
type TestOptions struct {
	Namespace, Topic string // what becomes of it at the peer; no topic: nothing is asked
	Bytes            int64  // of padding that are sent; 0: none, at most 64 MiB
}

// TestState is what became of a step of a test.
type TestState string

// States of steps.
const (
	TestOK      TestState = "ok"
	TestFailed  TestState = "failed" // the link does not work
	TestMissed  TestState = "missed" // it works, and a goal is missed
	TestSkipped TestState = "skipped"
)

// TestStep is one thing that was tried.
type TestStep struct {
	Name    string
	State   TestState
	Detail  string
	Next    string             // what to do about it
	Figures map[string]float64 // seconds, bytes, shares
}

// Test is what a test of a link found, in the order in which it was tried: what fails
// first may be the cause of the rest.
type Test struct {
	Steps []TestStep
	View  *View // how the peer sees the link; nil if it does not say
}

// Parts of a test.
const (
	testPings    = 5
	testCanaries = 5
	pingWait     = 2 * time.Second
	viewWait     = 3 * time.Second
	canaryWait   = 8 * time.Second // for all of them
	padWait      = 12 * time.Second
	inSyncWait   = 3 * time.Second
	lateAfter    = 10 * time.Second   // a canary
	lossMost     = 0.05               // of packets
	certificate  = 7 * 24 * time.Hour // left of one, at least, or a third of its life
	inSyncPoll   = 200 * time.Millisecond
)

// Test tries a link now, step by step. It takes seconds, less than 30; a link is
// tested once at a time.
func (m *Manager) Test(ctx context.Context, id home.ID, o TestOptions) (Test, error) {
	p := (*m.peers.Load())[linkTo(id)]
	if p == nil {
		return Test{}, ErrNoLink
	}
	if !p.testing.TryLock() {
		return Test{}, ErrTesting
	}
	defer p.testing.Unlock()
	x := &tester{p: p, o: o}
	x.run(ctx)
	return x.Test, ctx.Err()
}

// tester is a test that runs.
type tester struct {
	Test
	p    *peer
	t    *tunnel
	o    TestOptions
	mute bool // the peer does not answer
}

func (x *tester) run(ctx context.Context) {
	if !x.tunnel() {
		return
	}
	x.known(x.ping)(ctx, "ping")
	x.known(x.canary)(ctx, "canary")
	x.known(x.view)(ctx, "peer")
	x.known(x.interest)(ctx, "interest")
	x.spool()
	x.certificates()
	if x.o.Bytes > 0 {
		x.known(x.padding)(ctx, "padding")
	}
}

func (x *tester) add(name string, state TestState, next, detail string, args ...any) *TestStep {
	if state == TestOK {
		next = ""
	}
	x.Steps = append(x.Steps, TestStep{Name: name, State: state, Next: next, Detail: fmt.Sprintf(detail, args...), Figures: map[string]float64{}})
	return &x.Steps[len(x.Steps)-1]
}

// known runs a step that the peer has to know, and for which it must be heard.
func (x *tester) known(step func(context.Context)) func(context.Context, string) {
	return func(ctx context.Context, name string) {
		switch {
		case x.t.agreed.Features&wire.FeatureTest == 0:
			x.add(name, TestSkipped, "", "the peer's version (%s) does not know it", x.t.remote.Software)
		case x.mute:
			x.add(name, TestSkipped, "", "the peer does not answer")
		default:
			step(ctx)
		}
	}
}

func (x *tester) tunnel() bool {
	st := x.p.status()
	if x.t = x.p.current(); x.t == nil || st.State != Up {
		x.add("tunnel", TestFailed, "causeway ctl link show "+string(st.Peer), "the link is %s for %s: %s", st.State, time.Since(st.Since).Round(time.Second), st.Reason)
		return false
	}
	how := "dialled by the peer"
	if st.Dialled {
		how = "dialled by this side"
	}
	text := fmt.Sprintf("%s to %s, %s, up for %s", st.Network, st.Address, how, time.Since(st.Since).Round(time.Second))
	if st.WhyNotUDP != "" {
		text += "; not UDP: " + st.WhyNotUDP
	}
	x.add("tunnel", TestOK, "", "%s", text)
	return true
}

// ping measures the round trip on the control stream, and what the transport lost.
func (x *tester) ping(ctx context.Context) {
	var trips []time.Duration
	for range testPings {
		one, cancel := context.WithTimeout(ctx, pingWait)
		began := time.Now()
		_, err := x.t.ask(one, wire.Question{})
		cancel()
		if err != nil {
			x.mute = true
			x.add("ping", TestFailed, "look at the network between the regions", "no answer to ping %d of %d within %s: %v", len(trips)+1, testPings, pingWait, err)
			return
		}
		trips = append(trips, time.Since(began))
	}
	slices.Sort(trips)
	text, state := fmt.Sprintf("round trip %s (%s to %s)", ms(middle(trips)), ms(trips[0]), ms(trips[len(trips)-1])), TestOK
	loss := -1.0
	if s := x.t.c.stats(); s.packets > 0 {
		loss = float64(s.packetsLost) / float64(s.packets)
		text += fmt.Sprintf(", %.2f%% of %d packets lost on this tunnel", loss*100, s.packets)
		if loss > lossMost {
			state = TestMissed
		}
	}
	step := x.add("ping", state, "look at the network between the regions", "%s", text)
	step.Figures["round_trip_seconds"], step.Figures["round_trip_most_seconds"] = middle(trips).Seconds(), trips[len(trips)-1].Seconds()
	if loss >= 0 {
		step.Figures["loss"] = loss
	}
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func middle(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

// canary sends some through both homes, and looks at how those of the peer come.
func (x *tester) canary(ctx context.Context) {
	next := "causeway ctl link show " + string(x.p.config().ID) + ", here and at the peer"
	if x.t.policy().Paused() {
		x.add("canary", TestMissed, "causeway ctl link resume "+string(x.p.config().ID), "the link is paused here: nothing crosses")
		return
	}
	wait, cancel := context.WithTimeout(ctx, canaryWait)
	defer cancel()
	var trips []time.Duration
	for range testCanaries {
		took, err := x.t.tryCanary(wait)
		if err != nil {
			x.add("canary", TestFailed, next, "canary %d of %d did not come back from the peer's home within %s: %v", len(trips)+1, testCanaries, canaryWait, err)
			return
		}
		trips = append(trips, took)
	}
	slices.Sort(trips)
	in := x.p.canaries.status(time.Now()).InAge
	state, text := TestOK, fmt.Sprintf("%d from home to home and back: middle %s, slowest %s; the peer's newest came %s ago", len(trips),
		ms(middle(trips)), ms(trips[len(trips)-1]), in.Round(100*time.Millisecond))
	if in > lateAfter && x.p.m.o.CanaryEvery > 0 {
		state = TestMissed
		text += ", which is late"
	}
	step := x.add("canary", state, next, "%s", text)
	step.Figures["p50_seconds"], step.Figures["p99_seconds"], step.Figures["in_age_seconds"] = middle(trips).Seconds(), trips[len(trips)-1].Seconds(), in.Seconds()
}

// view asks the peer how it sees the link.
func (x *tester) view(ctx context.Context) {
	next := "run the test at a node of region " + x.p.config().region()
	v, err := x.askView(ctx)
	if err != nil {
		x.add("peer", TestFailed, next, "the peer does not say how it sees the link: %v", err)
		return
	}
	x.View = v
	state, text := TestOK, fmt.Sprintf("there %d messages (%d bytes) are spooled for this region", v.Messages, v.Bytes)
	if v.Oldest > 0 {
		text += fmt.Sprintf(", the oldest for %s", seconds(v.Oldest).Round(time.Second))
	}
	if c := v.Canary; c != nil {
		text += fmt.Sprintf("; what arrived here last was sent %s ago, what came from here last %s", seconds(c.Out).Round(100*time.Millisecond), seconds(c.In).Round(100*time.Millisecond))
		if max(seconds(c.Out), seconds(c.In)) > lateAfter {
			state = TestMissed
		}
	}
	if v.Paused {
		state, text = TestMissed, text+"; the link is paused there"
	}
	if v.Held != "" {
		state, text = TestFailed, text+"; held back there: "+v.Held
	}
	x.add("peer", state, next, "%s", text)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (x *tester) askView(ctx context.Context) (*View, error) {
	ctx, cancel := context.WithTimeout(ctx, viewWait)
	defer cancel()
	a, err := x.t.ask(ctx, wire.Question{View: true, Namespace: x.o.Namespace, Topic: x.o.Topic})
	if err != nil {
		return nil, err
	}
	v := new(View)
	if err := json.Unmarshal(a.View, v); err != nil {
		return nil, fmt.Errorf("its answer is not understood: %w", err)
	}
	return v, nil
}

// interest compares what each side wants with what the other one holds of it. What
// changed a moment ago may be on its way.
func (x *tester) interest(ctx context.Context) {
	if x.View == nil {
		x.add("interest", TestSkipped, "", "the peer did not say what it wants")
		return
	}
	var there, here string
	for end := time.Now().Add(inSyncWait); ; {
		there, here = differ(x.View.Wants, x.t.holds()), differ(x.t.wants(), x.View.Holds)
		if there+here == "" || time.Now().After(end) || group.Pause(ctx, inSyncPoll) != nil {
			break
		}
		if v, err := x.askView(ctx); err == nil {
			x.View = v
		}
	}
	info, _ := x.t.st.Peer(x.p.config().ID)
	const next = "wait 10 s and test again; if it stays, see the logs of both sides"
	switch {
	case there != "":
		x.add("interest", TestFailed, next, "what the peer wants is not what this home holds: %s", there)
	case here != "":
		x.add("interest", TestFailed, next, "what this region wants is not what the peer's home holds: %s", here)
	default:
		x.add("interest", TestOK, "", "the peer wants %d filters (version %d); both sides hold the same", info.Filters, info.Version)
	}
}

// differ says how what is held differs from what is wanted; "" if it does not.
func differ(wants, holds Wish) string {
	switch {
	case wants.Epoch != holds.Epoch:
		return fmt.Sprintf("epoch %d is wanted, %d is held", wants.Epoch, holds.Epoch)
	case wants.Version != holds.Version:
		return fmt.Sprintf("version %d is wanted, %d is held", wants.Version, holds.Version)
	case wants != holds:
		return fmt.Sprintf("at version %d the contents differ", wants.Version)
	}
	return ""
}

func (x *tester) spool() {
	id := x.p.config().ID
	info, ok := x.t.st.Peer(id)
	next := "causeway ctl link show " + string(id)
	switch why := x.p.whyHeld(); {
	case !ok:
		x.add("spool", TestFailed, "wait until the node that leads has configured the home", "this home does not know the peer yet")
	case why != "":
		x.add("spool", TestFailed, next, "held back: %s", why)
	default:
		step := x.add("spool", TestOK, "", "%d messages (%d bytes) wait for the peer", info.Spooled, info.Bytes)
		step.Figures["messages"], step.Figures["bytes"] = float64(info.Spooled), float64(info.Bytes)
	}
}

// certificates looks at how long both are valid.
func (x *tester) certificates() {
	state, text := TestOK, ""
	look := func(whose string, from, until time.Time) {
		if text != "" {
			text += ", "
		}
		left := time.Until(until)
		text += fmt.Sprintf("%s until %s (%d days)", whose, until.UTC().Format(time.DateOnly), int(left.Hours()/24))
		if left < min(certificate, until.Sub(from)/3) {
			state = TestMissed
		}
	}
	if x.View != nil && !x.View.YourCertificateUntil.IsZero() {
		look("ours is valid", x.View.YourCertificateFrom, x.View.YourCertificateUntil)
	}
	if chain := x.t.c.tls().PeerCertificates; len(chain) > 0 {
		look("the peer's", chain[0].NotBefore, chain[0].NotAfter)
	}
	x.add("certificates", state, "causeway ca issue makes new ones; nodes read them without a restart", "%s", text)
}

// padding measures how much goes through.
func (x *tester) padding(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, padWait)
	defer cancel()
	n := min(x.o.Bytes, maxPadding)
	took, err := x.t.pad(ctx, n)
	if err != nil {
		x.add("padding", TestFailed, "try fewer bytes", "%d bytes did not get through within %s: %v", n, padWait, err)
		return
	}
	rate := float64(n) / max(took.Seconds(), 1e-9)
	step := x.add("padding", TestOK, "", "%d bytes in %s: %.1f MB/s", n, took.Round(time.Millisecond), rate/1e6)
	step.Figures["bytes"], step.Figures["seconds"], step.Figures["bytes_per_second"] = float64(n), took.Seconds(), rate
}
