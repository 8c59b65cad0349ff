package routing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestInterestCounts(t *testing.T) {
	in := NewInterest(10)
	for i, step := range []struct {
		add              bool
		ns, filter       string
		changed          bool
		version, filters uint64
	}{
		{true, "cars", "a/#", true, 1, 1},
		{true, "cars", "a/#", false, 1, 1},
		{true, "vans", "a/#", true, 2, 2}, // another namespace, another filter
		{false, "cars", "a/#", false, 2, 2},
		{false, "cars", "a/#", true, 3, 1},
		{false, "cars", "a/#", false, 3, 1},
		{false, "cars", "b", false, 3, 1},
		{true, "cars", "a/#", true, 4, 2},
	} {
		change := in.Remove
		if step.add {
			change = in.Add
		}
		if got := change(step.ns, step.filter); got != step.changed || in.Version() != step.version || in.Len() != int(step.filters) {
			t.Errorf("step %d: changed %v, version %d, %d filters", i, got, in.Version(), in.Len())
		}
	}
}

func TestInterestSince(t *testing.T) {
	in := NewInterest(3)
	for _, f := range []string{"1", "2", "3"} {
		in.Add("", f)
	}
	in.Remove("", "2")
	want := func(from uint64, add, remove string) {
		t.Helper()
		d, ok := in.Since(from)
		if !ok || d.Empty() != (from == in.Version()) || d.Base != from || d.Version != in.Version() || texts(d.Add) != add || texts(d.Remove) != remove {
			t.Errorf("Since(%d) = %+v, %v", from, d, ok)
		}
	}
	refused := func(from uint64) {
		t.Helper()
		if d, ok := in.Since(from); ok {
			t.Errorf("Since(%d) = %+v", from, d)
		}
	}
	refused(0) // three are remembered: 2, 3, 4
	want(1, "[3]", "[]")
	want(2, "[3]", "[2]")
	want(3, "[]", "[2]")
	want(4, "[]", "[]")
	refused(5)
	in.Add("", "2")
	want(3, "[]", "[]") // gone and come back
	in.Rebase(100)
	refused(99)
	refused(5)
	want(100, "[]", "[]")
	in.Remove("", "1")
	want(100, "[]", "[1]")

	none := NewInterest(0)
	none.Add("", "1")
	in = none
	refused(0)
	want(1, "[]", "[]")
}

func texts(filters []Filter) string {
	out := make([]string, 0, len(filters))
	for _, f := range filters {
		out = append(out, f.Filter)
	}
	return fmt.Sprint(out)
}

// mirror follows a Remote by its callback alone, as a home's table does.
type mirror map[Filter]struct{}

func (m mirror) changed(f Filter, added bool) {
	if _, held := m[f]; held == added {
		panic(fmt.Sprintf("%v added=%v twice", f, added))
	}
	if added {
		m[f] = struct{}{}
	} else {
		delete(m, f)
	}
}

// TestRemoteFollowsInterest: whatever changes, and however seldom the peer asks, deltas and snapshots take it to the
// same set, version and digest.
func TestRemoteFollowsInterest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := NewInterest(rapid.IntRange(0, 20).Draw(t, "history"))
		table := mirror{}
		remote := NewRemote(table.changed)
		ref := map[Filter]int{}
		deltas := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				f := drawWanted().Draw(t, "filter")
				ref[f]++
				if in.Add(f.Namespace, f.Filter) != (ref[f] == 1) {
					t.Fatalf("Add(%v)", f)
				}
			},
			"remove": func(t *rapid.T) {
				f := drawWanted().Draw(t, "filter")
				if in.Remove(f.Namespace, f.Filter) != (ref[f] == 1) {
					t.Fatalf("Remove(%v)", f)
				}
				if ref[f]--; ref[f] <= 0 {
					delete(ref, f)
				}
			},
			"sync": func(t *rapid.T) {
				if d, ok := in.Since(remote.Version()); !ok {
					if err := remote.Replace(in.Snapshot()); err != nil {
						t.Fatal(err)
					}
				} else if err := remote.Apply(d); err != nil {
					t.Fatal(err)
				} else {
					deltas++
				}
				want := in.Snapshot()
				got := remote.Snapshot()
				if got.Version != want.Version || got.Digest != want.Digest || !slices.Equal(got.Filters, want.Filters) {
					t.Fatalf("remote\n%+v, want\n%+v", got, want)
				}
				if !slices.Equal(slices.Collect(remote.View().All()), sorted(ref)) || !maps.Equal(table, mirror(setOf(got.Filters))) {
					t.Fatalf("remote %v, callback %v, want %v", got.Filters, table, ref)
				}
			},
			"": func(t *rapid.T) {
				if in.Len() != len(ref) || in.Digest() != digestSet(setOf(sorted(ref))) {
					t.Fatalf("%d filters, digest %s", in.Len(), in.Digest())
				}
			},
		})
	})
}

func drawWanted() *rapid.Generator[Filter] {
	return rapid.Custom(func(t *rapid.T) Filter {
		return Filter{rapid.SampledFrom([]string{"", "n"}).Draw(t, "ns"), rapid.SampledFrom([]string{"a", "b", "a/#", "+", "na"}).Draw(t, "text")}
	})
}

func setOf(filters []Filter) map[Filter]struct{} {
	set := map[Filter]struct{}{}
	for _, f := range filters {
		set[f] = struct{}{}
	}
	return set
}

func digestSet(set map[Filter]struct{}) Digest { return digestAll(maps.Keys(set)) }

func TestDigestEqualIffSetsEqual(t *testing.T) {
	set := rapid.SliceOfN(drawWanted(), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		a, b := setOf(set.Draw(t, "a")), setOf(set.Draw(t, "b"))
		if (digestSet(a) == digestSet(b)) != maps.Equal(a, b) {
			t.Fatalf("%v has %s, %v has %s", a, digestSet(a), b, digestSet(b))
		}
	})
}

// TestDigestIsTheSameEverywhere: peers of other releases compare it.
func TestDigestIsTheSameEverywhere(t *testing.T) {
	for want, filters := range map[string][]Filter{
		"00000000000000000000000000000000": nil,
		"793f91f29353c188f82945ecffa09260": {{"cars", "cmd/#"}},
		"4c103861d06d7db2643396b8a80baf2d": {{"cars", "cmd/#"}, {"", "a/+"}},
	} {
		if got := digestSet(setOf(filters)).String(); got != want {
			t.Errorf("%v: %s, want %s", filters, got, want)
		}
	}
}

// TestDigestKeepsSwapsApart has the sets that sums of weak hashes confuse, and the split between namespace and filter.
func TestDigestKeepsSwapsApart(t *testing.T) {
	for _, pair := range [][2][]Filter{
		{{{"", "x1"}, {"", "y2"}}, {{"", "x2"}, {"", "y1"}}},
		{{{"ab", "c"}}, {{"a", "bc"}}},
		{{{"a", ""}}, {{"", "a"}}},
	} {
		if a, b := digestSet(setOf(pair[0])), digestSet(setOf(pair[1])); a == b || a.Hi == b.Hi || a.Lo == b.Lo {
			t.Errorf("%v: %s, %s", pair, a, b)
		}
	}
}

func TestRemoteRefuses(t *testing.T) {
	f := func(texts ...string) (out []Filter) {
		for _, text := range texts {
			out = append(out, Filter{"n", text})
		}
		return out
	}
	calls := 0
	remote := NewRemote(func(Filter, bool) { calls++ })
	if err := remote.Apply(Delta{Base: 0, Version: 5, Add: f("a", "b")}); err != nil || calls != 2 {
		t.Fatal(err, calls)
	}
	before := remote.Snapshot()
	for name, c := range map[string]struct {
		delta Delta
		want  error
	}{
		"a gap":           {Delta{Base: 6, Version: 7, Add: f("c")}, ErrGap},
		"the past":        {Delta{Base: 4, Version: 6, Add: f("c")}, ErrGap},
		"backwards":       {Delta{Base: 5, Version: 4}, ErrGap},
		"adds held":       {Delta{Base: 5, Version: 6, Remove: f("a"), Add: f("b", "c")}, ErrDiverged},
		"removes missing": {Delta{Base: 5, Version: 6, Add: f("c"), Remove: f("a", "d")}, ErrDiverged},
		"twice":           {Delta{Base: 5, Version: 6, Add: f("c", "c")}, ErrDiverged},
		"removes twice":   {Delta{Base: 5, Version: 6, Remove: f("a", "a")}, ErrDiverged},
		"unsorted":        {Delta{Base: 5, Version: 6, Add: f("d", "c")}, ErrDiverged},
	} {
		if err := remote.Apply(c.delta); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]Snapshot{
		"digest":  {Version: 9, Filters: f("a"), Digest: Digest{1, 2}},
		"twice":   {Version: 9, Filters: f("a", "b", "b"), Digest: before.Digest},
		"missing": {Version: 9, Filters: f("a"), Digest: before.Digest},
	} {
		if err := remote.Replace(s); !errors.Is(err, ErrDiverged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := remote.Snapshot(); calls != 2 || after.Version != before.Version || !slices.Equal(after.Filters, before.Filters) {
		t.Errorf("%d calls, %+v", calls, after)
	}
}

// TestRemoteNoticesFlippedBit: the digest shows it and a snapshot mends it, by taking out what the bit made and putting
// in what it unmade.
func TestRemoteNoticesFlippedBit(t *testing.T) {
	in := NewInterest(0)
	in.Add("n", "a/b")
	in.Add("n", "c")
	var log []string
	remote := NewRemote(func(f Filter, added bool) { log = append(log, fmt.Sprint(f.Filter, added)) })

	bytes := []byte("a/b") // the text in memory, which a Go program cannot change and a cosmic ray can
	text := unsafe.String(&bytes[0], len(bytes))
	if err := remote.Apply(Delta{Version: 2, Add: []Filter{{"n", text}, {"n", "c"}}}); err != nil {
		t.Fatal(err)
	}
	if remote.Digest() != in.Digest() {
		t.Fatalf("%s, want %s", remote.Digest(), in.Digest())
	}
	bytes[2] ^= 1
	if remote.View().Compute() == in.Digest() {
		t.Fatal("the digest does not show the flipped bit")
	}
	log = nil
	if err := remote.Replace(in.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if remote.View().Compute() != in.Digest() || !slices.Equal(log, []string{"a/cfalse", "a/btrue"}) {
		t.Errorf("%s, want %s; told %q", remote.Digest(), in.Digest(), log)
	}
}

// TestViewStaysAsItWas: whatever becomes of the set, a view of it is what was there.
func TestViewStaysAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := NewInterest(0)
		views, want := []View{{}}, []Snapshot{{}}
		for range rapid.IntRange(1, 300).Draw(t, "changes") {
			f := fmt.Sprint(rapid.IntRange(0, 200).Draw(t, "filter"))
			if rapid.Bool().Draw(t, "add") {
				in.Add("n", f)
			} else {
				in.Remove("n", f)
			}
			if rapid.IntRange(0, 20).Draw(t, "view") == 0 {
				views, want = append(views, in.View()), append(want, in.Snapshot())
			}
		}
		for i, v := range views {
			if got := v.Snapshot(); v.Len != len(want[i].Filters) || v.Compute() != v.Digest || v.Digest != want[i].Digest || !slices.Equal(got.Filters, want[i].Filters) {
				t.Fatalf("view %d of version %d is %+v, was %+v", i, v.Version, got, want[i])
			}
		}
	})
}

func TestViewAll(t *testing.T) {
	remote := NewRemote(nil)
	if err := remote.Apply(Delta{Version: 1, Add: []Filter{{"a", "z"}, {"b", "x"}, {"b", "y"}}}); err != nil {
		t.Fatal(err)
	}
	var seen []Filter
	for f := range remote.View().All() {
		if seen = append(seen, f); len(seen) == 2 {
			break
		}
	}
	if !slices.Equal(seen, []Filter{{"a", "z"}, {"b", "x"}}) || remote.Len() != 3 || !remote.Has(Filter{"b", "y"}) || remote.Has(Filter{"a", "y"}) {
		t.Errorf("%v of %d", seen, remote.Len())
	}
}

func BenchmarkInterestBootstrap1M(b *testing.B) {
	texts := filters(million, exactFilter)
	in := NewInterest(1000)
	add := func() {
		for _, f := range texts {
			in.Add("cars", f)
		}
	}
	add()
	s := in.Snapshot()
	run := func(name string, act func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := cpuTime()
			for b.Loop() {
				act()
			}
			reportCPU(b, began)
		})
	}
	run("add", func() {
		in = NewInterest(1000)
		add()
	})
	run("snapshot", func() { s = in.Snapshot() })
	remote := NewRemote(nil)
	run("replace", func() {
		remote = NewRemote(nil)
		if err := remote.Replace(s); err != nil {
			b.Fatal(err)
		}
	})
	run("digest", func() {
		if remote.View().Compute() != s.Digest {
			b.Fatal("digest")
		}
	})
}
