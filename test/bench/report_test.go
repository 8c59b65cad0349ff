package main

import (
	"math"
	"strings"
	"testing"
)

func TestHistogram_QuantileInterpolates(t *testing.T) {
	const page = `# TYPE x histogram
x_bucket{home="eu",le="0.001"} 10
x_bucket{home="eu",le="0.002"} 20
x_bucket{home="eu",le="+Inf"} 20
x_sum{home="eu"} 1
`
	before, after := histogram{}, histogram{}
	for h, text := range map[*histogram]string{&before: strings.ReplaceAll(page, "20", "10"), &after: page} {
		if err := h.read(strings.NewReader(text), "x"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		h    histogram
		want float64
	}{{after, 0.001}, {after.minus(before), 0.0015}} {
		if got := c.h.quantile(0.5); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("the median is %v, want %v", got, c.want)
		}
	}
	if err := (histogram{}).read(strings.NewReader(page), "y"); err == nil {
		t.Error("a metric that is missing is no error")
	}
}

func TestReport_HoldsMediansToGoals(t *testing.T) {
	var r report
	for _, v := range []float64{90, 10, 30} {
		r.add("rate", ours, "/s", v)
		r.add("rate", natsLazy, "/s", 10)
	}
	r.total("lost", ours, 0)
	r.total("lost", ours, 2)
	r.above("enough", "rate", 30)
	r.above("too much", "rate", 31)
	r.below("little", "rate", 30)
	r.ratio("three times", "rate", natsLazy, 3)
	r.ratio("four times", "rate", natsLazy, 4)
	r.ratio("nobody beside us", "rate", natsSynced, 4)
	r.below("nothing lost in any round", "lost", 0)
	want := []bool{true, false, true, true, false, false}
	if len(r.Goals) != len(want) {
		t.Fatalf("%+v", r.Goals)
	}
	for i, g := range r.Goals {
		if g.Met != want[i] {
			t.Errorf("%+v", g)
		}
	}
	var b strings.Builder
	r.markdown(&b)
	for _, row := range []string{"| rate | /s | 30 (10-90) | 10 (10-10) |", "| lost |  | 2 | – |", "| too much | 30 /s | **no** |"} {
		if !strings.Contains(b.String(), row+"\n") {
			t.Errorf("no %q in\n%s", row, b.String())
		}
	}
}
