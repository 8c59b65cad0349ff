package outage

import (
	"fmt"
	"strings"
	"time"

	"causeway/internal/load"
)

// Marks are when a loss was noticed, a promotion was decided on, and the region served the lost one's home. Zero is
// not known.
type Marks struct{ Detected, Decided, Promoted time.Time }

// Report is what came of a loss, as devices see it. Times count from the loss; what is below zero was not seen.
type Report struct {
	What    string `json:"what"`
	Devices int    `json:"devices"`

	Detect  time.Duration `json:"detect"`
	Decide  time.Duration `json:"decide"`
	Promote time.Duration `json:"promote"`
	First   time.Duration `json:"first_device"`
	P50     time.Duration `json:"p50"`
	P95     time.Duration `json:"p95"`
	P99     time.Duration `json:"p99"`
	P999    time.Duration `json:"p999"`
	Away    int           `json:"away"` // not served again

	GapP50 time.Duration `json:"gap_p50"`
	GapP99 time.Duration `json:"gap_p99"` // of the longest gaps of each device
	GapMax time.Duration `json:"gap_max"`

	Sent        uint64 `json:"sent"`
	Acked       uint64 `json:"acknowledged"`
	Received    uint64 `json:"received"`
	Unavailable uint64 `json:"unavailable_until_reconcile"`
	Lost        uint64 `json:"lost"`
	DoubledQoS1 uint64 `json:"doubled_qos1"`
	DoubledQoS2 uint64 `json:"doubled_qos2"`
	Reordered   uint64 `json:"reordered"`
	FalseWills  uint64 `json:"false_wills"`
	Forgotten   int    `json:"sessions_forgotten"`
}

const unseen = -1

// Report says what came of the loss so far.
func (f *Fleet) Report(what string, m Marks, unavailable uint64) *Report {
	s := f.Served()
	r := &Report{What: what, Devices: len(f.Devices()), Unavailable: unavailable, Away: s.Away,
		Detect: f.since(m.Detected), Decide: f.since(m.Decided), Promote: f.since(m.Promoted),
		First: quantile(s, 0), P50: quantile(s, 0.5), P95: quantile(s, 0.95), P99: quantile(s, 0.99), P999: quantile(s, 0.999)}
	gaps := f.Gaps()
	r.GapP50, r.GapP99, r.GapMax = gaps[len(gaps)/2], gaps[(len(gaps)*99+99)/100-1], gaps[len(gaps)-1]
	one, two := f.Sums(func(i int) bool { return qos(i) == 1 }), f.Sums(func(i int) bool { return qos(i) == 2 })
	r.Sent, r.Acked, r.Received = one.Sent+two.Sent, one.Acked+two.Acked, one.Received+two.Received
	r.Lost, r.Reordered = one.Lost+two.Lost, one.Reordered+two.Reordered
	r.DoubledQoS1, r.DoubledQoS2, r.FalseWills = one.Doubled, two.Doubled, f.FalseWills()
	for _, d := range f.Devices() {
		_, forgotten, _ := d.History()
		r.Forgotten += forgotten
	}
	return r
}

func (f *Fleet) since(t time.Time) time.Duration {
	if t.IsZero() {
		return unseen
	}
	return t.Sub(f.lost)
}

func quantile(s *load.Served, q float64) time.Duration {
	if d, ok := s.Quantile(q); ok {
		return d
	}
	return unseen
}

// String is the report for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d devices\n", r.What, r.Devices)
	fmt.Fprintf(&b, "  detect %s, decide %s, promote %s, first device %s\n", show(r.Detect), show(r.Decide), show(r.Promote), show(r.First))
	fmt.Fprintf(&b, "  served again: 50%% %s, 95%% %s, 99%% %s, 99.9%% %s; %d away, %d sessions forgotten\n", show(r.P50), show(r.P95), show(r.P99), show(r.P999), r.Away, r.Forgotten)
	fmt.Fprintf(&b, "  longest gap of a device: p50 %s, p99 %s, max %s\n", show(r.GapP50), show(r.GapP99), show(r.GapMax))
	fmt.Fprintf(&b, "  sent %d, acknowledged %d, received %d; unavailable until reconcile %d, finally lost %d\n", r.Sent, r.Acked, r.Received, r.Unavailable, r.Lost)
	fmt.Fprintf(&b, "  doubled at QoS 1 %d, at QoS 2 %d; reordered %d; false wills %d", r.DoubledQoS1, r.DoubledQoS2, r.Reordered, r.FalseWills)
	return b.String()
}

func show(d time.Duration) string {
	if d < 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// Broken lists the promises that the report shows broken. What a region still held when it was lost may come late, so
// out of order, and at QoS 2 again where its acknowledgement was not shipped: of an unplanned loss that is counted,
// of a planned switchover it must not be.
func (r *Report) Broken(planned bool) (list []string) {
	must := func(ok bool, format string, args ...any) {
		if !ok {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	must(r.Lost == 0, "%d messages are lost", r.Lost)
	must(r.Away == 0, "%d devices were not served again", r.Away)
	must(r.Forgotten == 0, "%d sessions were forgotten", r.Forgotten)
	must(r.FalseWills == 0, "%d wills came of devices that came back", r.FalseWills)
	must(r.Acked == r.Sent, "%d messages of %d were acknowledged", r.Acked, r.Sent)
	must(r.Reordered <= r.Unavailable, "%d messages came out of order, of which %d were late", r.Reordered, r.Unavailable)
	if planned {
		must(r.Unavailable == 0, "%d messages were unavailable", r.Unavailable)
		must(r.DoubledQoS2 == 0, "%d messages came twice at QoS 2", r.DoubledQoS2)
	}
	return list
}
