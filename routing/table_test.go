package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// plainTable is the reference: the filters in a map, each tried by itself.
type plainTable map[string][]int

func (p plainTable) Add(filter string, s int) bool {
	if slices.Contains(p[filter], s) {
		return false
	}
	p[filter] = append(p[filter], s)
	return true
}

func (p plainTable) Remove(filter string, s int) bool {
	i := slices.Index(p[filter], s)
	if i < 0 {
		return false
	}
	if p[filter] = slices.Delete(p[filter], i, i+1); len(p[filter]) == 0 {
		delete(p, filter)
	}
	return true
}

func (p plainTable) Match(topic string, dst []int) []int {
	var matching []string
	for f := range p {
		if Matches(f, topic) {
			matching = append(matching, f)
		}
	}
	slices.SortFunc(matching, documentedOrder)
	for _, f := range matching {
		dst = append(dst, p[f]...)
	}
	return dst
}

func (p plainTable) Len() (n int) {
	for _, list := range p {
		n += len(list)
	}
	return n
}

// documentedOrder is that of Match among filters that match one topic.
func documentedOrder(a, b string) int {
	if wild(a) != wild(b) {
		return map[bool]int{false: -1, true: 1}[wild(a)]
	}
	rank := func(levels []string, i int) int {
		switch {
		case i == len(levels):
			return 0
		case levels[i] == "#":
			return 1
		case levels[i] != "+":
			return 2
		default:
			return 3
		}
	}
	fa, fb := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; i <= min(len(fa), len(fb)); i++ {
		if c := cmp.Compare(rank(fa, i), rank(fb, i)); c != 0 {
			return c
		}
	}
	return 0
}

func TestTableExamples(t *testing.T) {
	table := NewTable[string]()
	for _, f := range []string{"sport/#", "sport/+", "sport/tennis", "+/+", "#", "$SYS/#", "+/tennis/#", "sport/tennis/#", "/+"} {
		if !table.Add(f, f) || table.Add(f, f) {
			t.Fatalf("Add(%q)", f)
		}
	}
	for topic, want := range map[string]string{
		"sport/tennis":    "sport/tennis # sport/# sport/tennis/# sport/+ +/tennis/# +/+",
		"sport":           "# sport/#",
		"sport/":          "# sport/# sport/+ +/+",
		"sport/tennis/x":  "# sport/# sport/tennis/# +/tennis/#",
		"/finance":        "# /+ +/+",
		"$SYS/monitor":    "$SYS/#",
		"$SYS":            "$SYS/#",
		"$other/tennis/x": "",
	} {
		if got := strings.Join(table.Match(topic, nil), " "); got != want {
			t.Errorf("%q matches %q, want %q", topic, got, want)
		}
	}
	if table.Len() != 9 || table.Filters() != 9 {
		t.Errorf("Len %d, Filters %d", table.Len(), table.Filters())
	}
}

func TestMatchAppends(t *testing.T) {
	table := NewTable[int]()
	table.Add("a", 1)
	if got := table.Match("a", []int{7}); !slices.Equal(got, []int{7, 1}) {
		t.Errorf("%v", got)
	}
}

// TestTableLikeReference makes the same writes to a Table and to the reference: few filters and many subscribers, so
// that lists of every size come and go, and the other way about.
func TestTableLikeReference(t *testing.T) {
	t.Run("filters", func(t *testing.T) { rapid.Check(t, likeReference(3, 150)) })
	t.Run("subscribers", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			steps(t, rapid.SampledFrom([]string{"a", "+", "a/#"}), 100, 1000)
		})
	})
}

func likeReference(subscribers, n int) func(*rapid.T) {
	return func(t *rapid.T) { steps(t, drawFilter(), subscribers, n) }
}

func steps(t *rapid.T, filters *rapid.Generator[string], subscribers, n int) {
	table, plain := NewTable[int](), plainTable{}
	names := rapid.SliceOfN(filters, 1, 20).Draw(t, "filters")
	draw := newDice(t)
	for i := range n {
		f, s := names[draw(len(names))], draw(subscribers)
		growing := i*4/n%2 == 0 // up, down, up, down
		if (draw(10) < 8) == growing {
			if got, want := table.Add(f, s), plain.Add(f, s); got != want {
				t.Fatalf("Add(%q, %d) = %v", f, s, got)
			}
		} else if got, want := table.Remove(f, s), plain.Remove(f, s); got != want {
			t.Fatalf("Remove(%q, %d) = %v", f, s, got)
		}
		if draw(10) == 0 {
			agree(t, table, plain, drawTopic().Draw(t, "topic"))
		}
	}
	for _, topic := range []string{"a", "b", "a/b", "$x", "/"} {
		agree(t, table, plain, topic)
	}
	for f, list := range plain {
		for _, s := range slices.Clone(list) {
			if !table.Remove(f, s) {
				t.Fatalf("Remove(%q, %d) = false", f, s)
			}
		}
	}
	empty(t, table)
}

// newDice draws from a seed: rapid shrinks the seed away quickly and a run stays cheap.
func newDice(t *rapid.T) func(n int) int {
	x := rapid.Uint64().Draw(t, "dice") | 1
	return func(n int) int {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		return int(x % uint64(n))
	}
}

func agree(t *rapid.T, table *Table[int], plain plainTable, topic string) {
	t.Helper()
	if got, want := table.Match(topic, nil), plain.Match(topic, nil); !slices.Equal(got, want) {
		t.Fatalf("Match(%q)\n%v, want\n%v", topic, got, want)
	}
	if table.Len() != plain.Len() || table.Filters() != len(plain) {
		t.Fatalf("Len %d, Filters %d, want %d, %d", table.Len(), table.Filters(), plain.Len(), len(plain))
	}
}

// empty fails if anything is left behind: a node, a bucket, a count.
func empty(t interface{ Fatalf(string, ...any) }, table *Table[int]) {
	if table.Len() != 0 || table.Filters() != 0 || !table.wild.root.empty() || table.wild.kids.cells != 0 ||
		table.wild.kids.dir.Load() != nil || table.exact.dir.Load() != nil {
		t.Fatalf("not empty: %d pairs, %d filters, %d nodes", table.Len(), table.Filters(), table.wild.kids.cells)
	}
}

// TestTableGrowsAndShrinks crosses every size of the indexes, by thousands of filters up and down again.
func TestTableGrowsAndShrinks(t *testing.T) {
	const n = 5000
	table := NewTable[int]()
	exact := func(i int) string { return fmt.Sprintf("x/%d", i) }
	wildOf := func(i int) string { return fmt.Sprintf("w/%d/+", i) }
	for i := range n {
		table.Add(exact(i), i)
		table.Add(wildOf(i), i)
	}
	for i := range n {
		held(t, table, exact(i), i)
		held(t, table, fmt.Sprintf("w/%d/z", i), i)
	}
	for i := range n {
		if !table.Remove(exact(i), i) || !table.Remove(wildOf(i), i) {
			t.Fatalf("%d was not there", i)
		}
		if got := table.Match(exact(i), nil); len(got) != 0 {
			t.Fatalf("%d is still there", i)
		}
		if i%500 == 0 {
			for j := i + 1; j < n; j++ {
				held(t, table, exact(j), j)
			}
		}
	}
	empty(t, table)
}

func held(t *testing.T, table *Table[int], topic string, want int) {
	t.Helper()
	if got := table.Match(topic, nil); len(got) != 1 || got[0] != want {
		t.Fatalf("Match(%q) = %v, want %d", topic, got, want)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := NewTable[int]()
	for i := range 200 {
		table.Add("a/b", i)
		table.Add("a/+", i)
		table.Add(fmt.Sprintf("+/b/%d/#", i), i)
	}
	dst := make([]int, 0, 1000)
	if n := testing.AllocsPerRun(100, func() { dst = table.Match("a/b", table.Match("a/b/7", dst[:0])) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzTable holds a Table with the two filters against Matches, for any text, valid or not.
func FuzzTable(f *testing.F) {
	for _, seed := range [][3]string{
		{"a/+/c", "a/#", "a/b/c"}, {"#", "+", "$SYS"}, {"#/a", "a/#/b", "#/a"}, {"", "/", "//"}, {"+/", "a+", "a+"}, {"$x/#", "+/#", "$x"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, one, two, topic string) {
		table := NewTable[int]()
		table.Add(one, 1)
		table.Add(two, 2)
		got := table.Match(topic, nil)
		for s, filter := range []string{one, two} {
			if slices.Contains(got, s+1) != Matches(filter, topic) {
				t.Errorf("filters %q and %q, topic %q: %v", one, two, topic, got)
			}
			if ValidFilter(filter) == nil && ValidTopic(topic) == nil && Matches(filter, topic) != refMatches(filter, topic) {
				t.Errorf("Matches(%q, %q)", filter, topic)
			}
		}
		table.Remove(two, 2)
		if got := table.Match(topic, nil); slices.Contains(got, 1) != Matches(one, topic) || slices.Contains(got, 2) {
			t.Errorf("after Remove(%q): %v", two, got)
		}
		table.Remove(one, 1)
		empty(t, table)
	})
}
