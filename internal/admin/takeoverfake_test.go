package admin

import (
	"context"
	"time"
)

func (f *fake) RegionHomes() ([]RegionHome, error) {
	if f.elsewhere != "" {
		return nil, &Elsewhere{f.elsewhere}
	}
	later := noon.Add(time.Second)
	if f.config == nil {
		return nil, f.down
	}
	return []RegionHome{{Home: "eu", Region: "eu", Node: "eu-1", Role: "host", Standing: "serving", Epoch: 3, Host: "eu", InForceEpoch: 3, InForceHost: "eu", Mode: "auto", Isolation: "self-fence",
		Records: 900, Sessions: 12, LeaseSeconds: 3.5, DownAfterSeconds: 10, Standbys: []RegionStandby{{Region: "us", Connected: true, Records: 899, LagMessages: 1}},
		Voters: []RegionVoter{{Name: "us", Votes: true, HeardSeconds: 0.4, Answer: "yes", Promised: "3@eu"}},
		Act:    &RegionAct{Action: "switchover", To: "us", By: "socket", Began: noon, Ended: &later, Step: "drain", Steps: []RegionStep{{"drain", noon}}, Outcome: "aborted"}},
		{Home: "us", Region: "eu", Role: "standby"}}, f.down
}

func (f *fake) region(what string, o RegionOrder) (RegionChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.elsewhere != "" {
		return RegionChange{}, &Elsewhere{f.elsewhere}
	}
	if f.refuse != nil {
		return RegionChange{}, f.refuse
	}
	f.do("%s %s %s to=%s force=%v within=%s by=%s", what, o.Act, o.Home, o.To, o.Force, o.Within, o.By)
	return RegionChange{Effects: []string{"an effect"}, Risk: "two serve", Confirm: o.Home, Node: "eu-1"}, f.down
}

func (f *fake) PlanRegion(_ context.Context, o RegionOrder) (RegionChange, error) {
	return f.region("plan", o)
}

func (f *fake) BeginRegion(_ context.Context, o RegionOrder) (RegionChange, error) {
	return f.region("begin", o)
}

func (f *fake) Divergence(_ context.Context, home string) (Divergence, error) {
	return Divergence{Home: home, State: "pending", Epoch: 1, Host: "eu", Records: 1000, Messages: 990, Bytes: 1 << 20, Classes: []DivergenceCount{{"cmd", 3}}, Oldest: &noon}, f.down
}

func (f *fake) Reconcile(_ context.Context, o ReconcileOrder, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("reconcile %s discard=%v replay=%s max=%s dry=%v", o.Home, o.Discard, o.Replay, o.MaxAge, dryRun)
	return []string{"990 messages go to us"}, f.down
}
