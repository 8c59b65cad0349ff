package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// Votes answers for a voter: a region, on the node that is at work for it, or a witness.
type Votes struct {
	o     VotesOptions
	start time.Time

	mu    sync.Mutex
	at    time.Duration       // when this run began; guarded by mu
	homes map[home.ID]*ballot // of this run; nil: not at work; guarded by mu
	heard func(home.ID, home.Epoch)
	look  func(home.ID) Look
}

// ballot is what a voter has about one home. Who has its turn is the only one that
// reads and writes it; it is held while a promise is written, so that no other answer is
// given meanwhile.
type ballot struct {
	turn  chan struct{} // of one place
	read  bool          // kept is what the book says
	voter takeover.Voter
	kept  Kept
	began time.Duration // of the run
	heard time.Duration // when a host was heard that serves; at first began
}

// answerTime bounds how long an answer waits for the disks: after that nobody relies on it.
const answerTime = 5 * time.Second

// ErrNotAtWork: the node is not the one that answers for its region.
var ErrNotAtWork = errors.New("this node does not answer for its region now")

// NewVotes checks the options.
func NewVotes(o VotesOptions) (*Votes, error) {
	if o.Book == nil || o.Name == "" {
		return nil, errors.New("takeover: VotesOptions.Name and Book must be set")
	}
	if !o.Mute && (o.Terms.Lease <= 0 || o.Terms.Hold <= o.Terms.Lease) {
		return nil, fmt.Errorf("takeover: a promise is kept for %s and relied on for %s; it must be kept for longer", o.Terms.Hold, o.Terms.Lease)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Pace == 0 {
		o.Pace = 1
	}
	return &Votes{o: o, start: time.Now()}, nil
}

// now is this voter's monotonic clock.
func (v *Votes) now() time.Duration { return time.Duration(float64(time.Since(v.start)) * v.o.Pace) }

// Start loads the book; before that Answer refuses. It is called each time this node
// becomes the voter, and begins another run: what was promised in the last one may
// still be relied on. Stop ends it.
func (v *Votes) Start(ctx context.Context) error {
	v.Stop()
	all, err := v.o.Book.Load(ctx)
	if err != nil {
		return fmt.Errorf("read the promises of %s: %w", v.o.Name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at, v.homes = v.now(), map[home.ID]*ballot{}
	for id, k := range all {
		v.homes[id] = v.fresh(k)
	}
	return nil
}

// fresh begins what a voter has about a home in this run. The caller holds mu.
func (v *Votes) fresh(k Kept) *ballot {
	b := &ballot{turn: make(chan struct{}, 1), kept: k, voter: takeover.Voter{Promised: k.Promised}, heard: v.at}
	b.voter.Resume(v.at, v.o.Terms)
	return b
}

// Stop refuses from now on.
func (v *Votes) Stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.homes = nil
}

func (b *ballot) leave() { <-b.turn }

// about returns the ballot of a home, with the turn; the caller leaves it.
func (v *Votes) about(ctx context.Context, id home.ID) (*ballot, error) {
	v.mu.Lock()
	if v.homes == nil {
		v.mu.Unlock()
		return nil, ErrNotAtWork
	}
	b := v.homes[id]
	if b == nil {
		if len(v.homes) >= maxHomes {
			v.mu.Unlock()
			return nil, fmt.Errorf("the home %s is one more than the %d that a voter knows", id, maxHomes)
		}
		b = v.fresh(Kept{})
		v.homes[id] = b
	}
	v.mu.Unlock()
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the voter of %s: %w", id, ctx.Err())
	}
	return b, nil
}

// maxHomes bounds what a voter keeps.
const maxHomes = 10_000

// attach has heard called with each epoch that a region says it serves at, and look
// for what the region tells of itself to who would hand a home over.
func (v *Votes) attach(heard func(home.ID, home.Epoch), look func(home.ID) Look) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard, v.look = heard, look
}

// pass lets the agent, if there is one, hear and tell.
func (v *Votes) pass(q *request, p *reply) {
	v.mu.Lock()
	heard, tells := v.heard, v.look
	v.mu.Unlock()
	if heard != nil && p.InForce != (home.Epoch{}) {
		heard(q.Home, p.InForce)
	}
	if tells != nil && q.Subject == look {
		p.Look = tells(q.Home)
	}
}

// kept is what is kept of a home.
func (v *Votes) kept(ctx context.Context, id home.ID) (Kept, error) {
	b, err := v.about(ctx, id)
	if err != nil {
		return Kept{}, err
	}
	defer b.leave()
	return b.kept, nil
}

// note changes what is kept of a home, durably.
func (v *Votes) note(ctx context.Context, id home.ID, change func(*Kept)) error {
	b, err := v.about(ctx, id)
	if err != nil {
		return err
	}
	defer b.leave()
	k := b.kept
	change(&k)
	return v.keep(ctx, id, b, k)
}

// keep makes k durable, if it says anything new. The caller has the ballot's turn.
func (v *Votes) keep(ctx context.Context, id home.ID, b *ballot, k Kept) error {
	if k == b.kept {
		return nil
	}
	if err := v.o.Book.Keep(ctx, id, k); err != nil {
		return fmt.Errorf("keep the promise about %s: %w", id, err)
	}
	b.kept, b.voter.Promised = k, highest(b.voter.Promised, k.Promised)
	return nil
}

// Answer answers a request that came from a region. It is what link.Options.Answer
// calls for Kind. An error is no answer: the asker counts nothing.
func (v *Votes) Answer(region string, kind byte, message []byte) ([]byte, error) {
	if kind != Kind {
		return nil, fmt.Errorf("a call of kind %d, which a voter does not know", kind)
	}
	q, err := decodeRequest(message)
	if err != nil {
		return nil, fmt.Errorf("a request of %s: %w", region, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	p, err := v.decide(ctx, region, &q)
	if err != nil {
		return nil, err
	}
	v.pass(&q, &p)
	return p.encode(), nil
}

// decide answers, and keeps what has to be kept before the answer is given.
func (v *Votes) decide(ctx context.Context, region string, q *request) (reply, error) {
	b, err := v.about(ctx, q.Home)
	if err != nil {
		return reply{}, err
	}
	defer b.leave()
	now, was := v.now(), b.kept
	verdict := yes
	speaksFor := q.Subject == tell || q.Subject == look || q.Epoch.Host == region
	switch {
	case !speaksFor || v.o.Hosts != nil && !slices.Contains(v.o.Hosts(q.Home), region):
		verdict = stranger
	case q.Subject == tell:
		b.voter.Tell(now, region, q.At)
	case q.Subject == release:
		b.voter.Release(q.Epoch)
	case q.Subject == served:
		k := was
		k.Promised, k.InForce = highest(k.Promised, q.Epoch), highest(k.InForce, q.Epoch)
		err = v.keep(ctx, q.Home, b, k)
	case q.Subject == short:
		k := was
		if s := (Short{q.Epoch, q.Record, q.has(flagOn)}); s.later(was.Short) {
			k.Short = s
		}
		err = v.keep(ctx, q.Home, b, k)
	case q.Subject == ask:
		if q.has(flagCandidate) {
			b.voter.Tell(now, region, q.At)
		}
		verdict, err = v.vote(ctx, now, q, b)
	}
	return reply{Verdict: verdict, Promised: b.kept.Promised, InForce: b.kept.InForce, Silent: max(0, v.now()-b.heard),
		Short: b.kept.Short.On && b.kept.Short.Epoch.Compare(q.At.Epoch) >= 0}, err
}

// vote decides on a request for a promise.
func (v *Votes) vote(ctx context.Context, now time.Duration, q *request, b *ballot) (verdict, error) {
	k := b.kept
	if !q.has(flagCandidate) {
		k.InForce = highest(k.InForce, q.Epoch) // it was promoted, and says so
	}
	said := v.refuse(q, &k)
	next := b.voter
	if said == yes {
		said = verdict(next.Answer(now, takeover.Ask{Epoch: q.Epoch, Candidate: q.has(flagCandidate), At: q.At, Forced: q.has(flagForced)}, v.o.Terms))
	}
	if said == yes {
		k.Promised = q.Epoch
		if !q.has(flagCandidate) {
			k.List = k.List.Told(q.Record, q.At)
		}
	}
	// An old promise is renewed without a write. That this node still is the voter has
	// to be certain then, too: its successor waits only for what was promised before it.
	same := k == b.kept
	if err := v.keep(ctx, q.Home, b, k); err != nil {
		return 0, err
	}
	if said != yes {
		return said, nil
	}
	if same {
		if err := v.o.Book.Sure(ctx); err != nil {
			return 0, fmt.Errorf("make sure that %s has no other voter: %w", v.o.Name, err)
		}
	}
	b.voter = next
	if q.has(flagOn) {
		b.heard = now
	}
	return yes, nil
}

// refuse is what a voter says for reasons of its own.
func (v *Votes) refuse(q *request, k *Kept) verdict {
	switch {
	case v.o.Mute:
		return voteless
	case q.Hold > v.o.Terms.Hold:
		return terms
	case q.Epoch.Compare(k.InForce) < 0:
		return old
	case q.has(flagCandidate) && !q.has(flagForced) && k.Short.On && k.Short.Epoch.Host != q.Epoch.Host && k.Short.Epoch.Compare(q.At.Epoch) >= 0:
		return lacking
	case q.has(flagCandidate) && !q.has(flagForced) && k.List.Outdated(q.Record, q.At):
		return outdated
	}
	return yes
}
