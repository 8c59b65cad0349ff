package admin

import (
	"cmp"
	"context"
	"time"
)

func (f *fake) LinkPolicy(peer string) (LinkPolicy, error) {
	until := noon.Add(time.Hour)
	return LinkPolicy{Peer: peer, Revision: 3, Pause: &LinkPause{Since: noon, Until: &until, Reason: "maintenance"},
		Keys:  []PolicyKey{{Key: "never", Origin: OriginFile}, {Key: "out", Value: []string{"a"}, Origin: OriginRegion, File: []string{"#"}}},
		Trims: []SpoolTrim{{Filter: "a", Class: "cmd", ToSeq: 9}}}, f.down
}

func (f *fake) ChangeLinkPolicy(_ context.Context, peer string, edit PolicyEdit, dryRun bool) (PolicyChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("policy %s %v", peer, edit)
	}
	return PolicyChange{Effects: []string{"rate: 0 -> 1MB/s (region)"}, Diff: []PolicyDiff{{Key: "never", Origin: OriginRegion}}}, f.down
}

func (f *fake) PauseLink(_ context.Context, peer string, d time.Duration, reason string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("pause %s %s %s", peer, d, reason)
	}
	return []string{"nothing crosses"}, f.down
}

func (f *fake) ResumeLink(_ context.Context, peer string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("resume %s", peer)
	}
	return nil, f.down
}

func (f *fake) LinkSpool(_ context.Context, peer string, depth int) (SpoolReport, error) {
	if len(f.links) == 0 {
		return SpoolReport{Peer: peer}, f.down
	}
	return SpoolReport{Peer: peer, Messages: depth, Classes: f.links[0].Spools, Topics: []TopicSum{{"a/#", 3, 300}}}, f.down
}

func (f *fake) TrimSpool(_ context.Context, peer string, t Trim, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("trim %s %+v", peer, t)
	}
	return []string{"3 spooled messages"}, f.down
}

func (f *fake) LinkDrain(peer string, to uint64) (LinkDrain, error) {
	return LinkDrain{Peer: peer, ToSeq: cmp.Or(to, 900), State: "up", Messages: 3}, f.down
}
