package routing

import (
	"fmt"
	"runtime"
	"testing"
)

// TestAddNeverCopiesTheTable: what one Add allocates does not depend on how much there is, whatever it adds to.
func TestAddNeverCopiesTheTable(t *testing.T) {
	const n, batch, most = 50_000, 100, 100 << 10 // a batch may meet a new directory: 24 bytes a chunk, and no more
	for name, filter := range map[string]func(int) string{
		"exact":            func(i int) string { return fmt.Sprintf("x/%d", i) },
		"wild":             func(i int) string { return fmt.Sprintf("x/%d/#", i) },
		"many subscribers": func(int) string { return "all" },
	} {
		table := NewTable[int]()
		texts := make([]string, n)
		for i := range texts {
			texts[i] = filter(i)
		}
		for i := 0; i < n; i += batch {
			before := allocated()
			for j := i; j < i+batch; j++ {
				table.Add(texts[j], j)
			}
			if got := allocated() - before; got > most {
				t.Errorf("%s: %d Adds at %d allocated %d bytes", name, batch, i, got)
			}
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestMemoryOfASubscription holds the sizes that docs for operators are computed from, beyond the filter's text.
func TestMemoryOfASubscription(t *testing.T) {
	const n = 20_000
	for _, c := range []struct {
		name   string
		filter func(int) string
		most   int64 // bytes
	}{
		{"exact", exactFilter, 100},
		{"wild", wildFilter, 300},
		{"many subscribers", func(int) string { return "all" }, 150},
	} {
		texts := filters(n, c.filter)
		table := NewTable[int]()
		before := heap()
		for i, f := range texts {
			table.Add(f, i)
		}
		got := (heap() - before) / n
		t.Logf("%s: %d bytes", c.name, got)
		if got > c.most {
			t.Errorf("%s: %d bytes a subscription, at most %d", c.name, got, c.most)
		}
		for i, f := range texts {
			table.Remove(f, i)
		}
		if left := heap() - before; left > 100<<10 {
			t.Errorf("%s: %d bytes are left when all are gone", c.name, left)
		}
		runtime.KeepAlive(texts)
		runtime.KeepAlive(table)
	}
}
