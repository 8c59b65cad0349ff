package link

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"causeway/internal/home"
	"causeway/routing"
)

// One bit of what a peer wants flips in our memory. The next digest finds it, and
// a snapshot puts it right.
func TestInterest_FlippedBitIsRepaired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/a", "events/b")
		wantsKnown(t, eu, us)
		v, _, _ := eu.home.st.PeerDigest("us")
		// The same version with one filter changed by a bit, as no delta says.
		o := eu.home.do(t, &home.Interest{Peer: "us", Epoch: us.home.st.Epoch(), Full: true, Version: v,
			Add: []home.InterestFilter{{Filter: "events/a"}, {Filter: "events/c"}}})
		if o.Code != home.CodeOK {
			t.Fatalf("could not damage the table: code %#x", o.Code)
		}
		took := eventually(t, 20*time.Second, "repaired", func() bool {
			_, want := us.home.st.Wanted()
			_, got, _ := eu.home.st.PeerDigest("us")
			return got == want
		})
		t.Logf("repaired after %v", took)
		if n := eu.status("us").Counters.DigestMismatches; n != 1 {
			t.Errorf("%d mismatches counted, want 1", n)
		}
		eu.home.publish(t, "events/b", 0, 10)
		drained(t, eu, "us", 5*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/b", 0, 10))
	})
}

// A link that comes back with nothing changed costs next to nothing, however much
// is wanted. What changed meanwhile is a delta.
func TestInterest_ReconnectCostsLittle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		for i := range 10 {
			var filters []string
			for j := range 200 {
				filters = append(filters, fmt.Sprintf("fleet/%03d/vehicle/%04d/command/+", i, j))
			}
			us.home.subscribe(t, fmt.Sprint("dev", i), filters...)
		}
		wantsKnown(t, eu, us)
		flap := func() {
			w.wan.setCut(ip("eu"), ip("us"), true)
			eventually(t, 10*time.Second, "down", func() bool { return eu.status("us").State != Up && us.status("eu").State != Up })
			w.wan.setCut(ip("eu"), ip("us"), false)
			up(t, eu, "us")
		}
		before := us.status("eu").Counters
		t.Logf("2,000 filters took %d bytes", before.InterestOut)
		flap()
		time.Sleep(5 * time.Second)
		after := us.status("eu").Counters
		if n := after.InterestOut - before.InterestOut; n > 2048 || after.SnapshotsOut != before.SnapshotsOut {
			t.Errorf("a reconnect cost %d bytes and %d snapshots", n, after.SnapshotsOut-before.SnapshotsOut)
		}
		w.wan.setCut(ip("eu"), ip("us"), true)
		time.Sleep(10 * time.Second)
		us.home.subscribe(t, "late", "late/#")
		w.wan.setCut(ip("eu"), ip("us"), false)
		wantsKnown(t, eu, us)
		if c := us.status("eu").Counters; c.SnapshotsOut != before.SnapshotsOut || c.InterestOut-after.InterestOut > 2048 {
			t.Errorf("one new filter cost %d bytes and %d snapshots", c.InterestOut-after.InterestOut, c.SnapshotsOut-before.SnapshotsOut)
		}
	})
}

// More than the home remembers changed while the link was down: a snapshot, in
// chunks.
func TestInterest_LargeSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		w.wan.setCut(ip("eu"), ip("us"), true)
		for i := range 20 {
			var filters []string
			for j := range 1000 {
				filters = append(filters, fmt.Sprintf("fleet/%03d/vehicle/%04d/command/+", i, j))
			}
			us.home.subscribe(t, fmt.Sprint("dev", i), filters...)
		}
		w.wan.setCut(ip("eu"), ip("us"), false)
		wantsKnown(t, eu, us)
		c := us.status("eu").Counters
		t.Logf("20,000 filters took %d bytes", c.InterestOut)
		if got := eu.status("us").InterestFilters; got != 20000 || c.SnapshotsOut == 0 {
			t.Errorf("%d filters by %d snapshots", got, c.SnapshotsOut)
		}
	})
}

// The policy narrows what is asked for, at once when it changes, and refuses what
// comes in spite of it.
func TestInterest_PolicyNarrows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.do(t, &home.SetPeer{Peer: "eu", In: []string{"cmd/#", "events/+"}, Never: []string{"cmd/secret/#"}, Retained: true})
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "#", "cmd/secret/x", "other/a")
		filters := func(n int) {
			t.Helper()
			eventually(t, 20*time.Second, fmt.Sprint(n, " filters"), func() bool { return eu.status("us").InterestFilters == n })
		}
		filters(2)
		eu.home.publish(t, "other/a", 0, 5)
		eu.home.publish(t, "cmd/secret/x", 0, 5) // cmd/# covers it: only the receiver can refuse it
		eu.home.publish(t, "cmd/x", 0, 5)
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "cmd/x", 0, 5))
		if n := us.status("eu").Counters.Dropped[DropPolicyIn]; n != 5 {
			t.Errorf("%d dropped by policy, want 5", n)
		}
		us.home.do(t, &home.SetPeer{Peer: "eu", Retained: true})
		filters(3)
		eu.home.publish(t, "other/a", 5, 10)
		drained(t, eu, "us", 10*time.Second)
		if got := us.home.queue(t, "dev"); got[len(got)-1] != "eu other/a 9" {
			t.Errorf("after the policy was opened: %q", got)
		}
		if n := us.status("eu").Counters.Tunnels; n != 1 {
			t.Errorf("%d tunnels: a policy must not cost one", n)
		}
	})
}

// Interest that the home does not know the peer of waits for SetPeer.
func TestInterest_PeerBecomesKnownLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.subscribe(t, "dev", "a")
		eu := w.region("eu")
		if err := eu.m.Reconfigure([]Peer{peerTo("us")}); err != nil {
			t.Fatal(err)
		}
		up(t, eu, "us")
		time.Sleep(3 * time.Second)
		eu.home.do(t, &home.SetPeer{Peer: "us"})
		wantsKnown(t, eu, us)
		eu.home.publish(t, "a", 0, 3)
		drained(t, eu, "us", 5*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "a", 0, 3))
	})
}

// Narrowed deltas, whatever the order of subscribing and unsubscribing, give what
// a narrowed snapshot gives.
func TestWants_DeltasEqualSnapshot(t *testing.T) {
	pool := []string{"#", "+/a", "cmd/#", "cmd/a", "cmd/a/b", "cmd/secret/x", "x/y", "x/+", "+/+", "events/a",
		"$share/g/#", "$share/+/g/#", "$share/g/cmd/a", "$share/g/x/+", "$share//g/eu/us"}
	rapid.Check(t, func(t *rapid.T) {
		src := &wantedSet{Interest: routing.NewInterest(rapid.SampledFrom([]int{0, 3, 100}).Draw(t, "history"))}
		policy := &home.LinkPolicy{SetPeer: home.SetPeer{
			InPrefix: rapid.SampledFrom([]string{"", "", "cmd/", "x/"}).Draw(t, "prefix"),
			In:       rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 3, rapid.ID).Draw(t, "in"),
			Never:    rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"cmd/secret/#", "x/y"}), 0, 2, rapid.ID).Draw(t, "never"),
		}}
		src.rules.Residency = rapid.SampledFrom([][]home.Residency{nil, {{Filter: "cmd/a/#", Regions: []string{"eu"}}},
			{{Namespace: "other", Filter: "#"}, {Filter: "x/+", Regions: []string{"eu", "us"}}}}).Draw(t, "residency")
		groups := rapid.Bool().Draw(t, "groups")
		w := newWants(src, policy, "eu", groups)
		there := routing.NewRemote(nil)
		if err := there.Replace(w.view().Snapshot()); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				f := rapid.SampledFrom(pool).Draw(t, "filter")
				if rapid.Bool().Draw(t, "add") {
					src.Add("", f)
				} else {
					src.Remove("", f)
				}
			}
			if d, ok := w.since(there.Version()); ok {
				if err := there.Apply(d); err != nil {
					t.Fatalf("delta %+v: %v", d, err)
				}
			} else if err := there.Replace(w.view().Snapshot()); err != nil {
				t.Fatal(err)
			}
			version, digest := w.digest()
			fresh := newWants(src, policy, "eu", groups).view().Snapshot()
			if got := there.Snapshot(); got.Version != version || got.Digest != digest || !slices.Equal(got.Filters, fresh.Filters) {
				t.Fatalf("there %+v, here version %d, %+v", got, version, fresh.Filters)
			}
		}
	})
}

// What is asked for on behalf of a group is told as a whole, or not.
func TestWants_Groups(t *testing.T) {
	for _, tc := range []struct {
		in, never []string
		groups    bool
		want      string
	}{
		{nil, nil, true, "[$share//g/eu/us $share/g/a/# a/#]"},
		{nil, nil, false, "[a/#]"},
		{[]string{"a/b"}, nil, true, "[$share//g/eu/us a/b]"},
		{[]string{"a/#", "b"}, nil, true, "[$share//g/eu/us $share/g/a/# a/#]"},
		{nil, []string{"+/x"}, true, "[$share//g/eu/us a/#]"},
	} {
		src := &wantedSet{Interest: routing.NewInterest(0)}
		for _, f := range []string{"a/#", "$share/g/a/#", "$share//g/eu/us"} {
			src.Add("", f)
		}
		var got []string
		for _, f := range newWants(src, &home.LinkPolicy{SetPeer: home.SetPeer{In: tc.in, Never: tc.never}}, "eu", tc.groups).view().Snapshot().Filters {
			got = append(got, f.Filter)
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("in %v, never %v, groups %v: %v, want %s", tc.in, tc.never, tc.groups, got, tc.want)
		}
	}
}

type wantedSet struct {
	*routing.Interest
	rules home.Configure
}

func (w *wantedSet) Config() *home.Configure { return &w.rules }

func (w *wantedSet) Wanted() (uint64, routing.Digest)           { return w.Version(), w.Digest() }
func (w *wantedSet) WantedSince(v uint64) (routing.Delta, bool) { return w.Since(v) }
func (w *wantedSet) WantedView() routing.View                   { return w.View() }
