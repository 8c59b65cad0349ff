package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// FallShort tells the voters that the home acknowledges, or no more, what its standbys
// lack. It returns nil once a majority keeps that: only then the first such PUBACK may
// be sent. It asks again until ctx ends; a home that no majority can be told of goes on
// waiting for its standby. [E13]
func (a *Agent) FallShort(ctx context.Context, id home.ID, record uint64, on bool) error {
	k := a.keepers[id]
	if k == nil {
		return fmt.Errorf("%w: %s", ErrNoCopy, id)
	}
	k.mu.Lock()
	voters, e, beat := k.copy.Settings.Voters, k.copy.Epoch, k.copy.Settings.Lease/8
	k.mu.Unlock()
	q := request{Subject: short, Home: id, Epoch: e, Record: record}
	if on {
		q.Flags |= flagOn
	}
	told := map[string]bool{}
	for {
		if !a.atWork.Load() {
			return ErrNotAtWork
		}
		err := a.tellShort(ctx, voters, &q, told)
		if len(told) >= takeover.Majority(len(voters)) {
			k.mu.Lock()
			k.word = q
			k.mu.Unlock()
			return nil
		}
		if !a.sleep(ctx, max(beat, 100*time.Millisecond), nil) {
			return fmt.Errorf("tell a majority of voters that %s acknowledges what no standby has: %d of %d know: %w", id, len(told), len(voters), errors.Join(err, ctx.Err()))
		}
	}
}

// repeat tells a voter the word again that a majority heard and it did not: a few that
// believe the former one could keep a standby that has everything from being promoted.
// The caller holds mu.
func (k *keeper) repeat(ctx context.Context, voter string, said *reply) {
	q := k.word
	if q.Home == "" || q.Epoch != k.copy.Epoch || said.Short == q.has(flagOn) || ctx.Err() != nil {
		return
	}
	limit := max(k.copy.Settings.Lease/2, time.Second)
	k.a.call(func() { _, _ = k.a.ask(ctx, voter, &q, limit) })
}

// tellShort asks those who do not know yet, side by side.
func (a *Agent) tellShort(ctx context.Context, voters []string, q *request, told map[string]bool) (last error) {
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, len(voters))
	n := 0
	for _, name := range voters {
		if told[name] {
			continue
		}
		n++
		go func() {
			p, err := a.ask(ctx, name, q, answerTime)
			if err == nil && p.Verdict != yes {
				err = errors.New(p.Verdict.String())
			}
			answers <- answer{name, err}
		}()
	}
	for range n {
		if r := <-answers; r.err == nil {
			told[r.name] = true
		} else {
			last = r.err
		}
		if len(told) >= takeover.Majority(len(voters)) {
			return nil
		}
	}
	return last
}
