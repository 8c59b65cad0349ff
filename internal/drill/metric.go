package drill

import (
	"fmt"
	"strconv"
	"time"
)

// Metric is one thing that a drill measures. Its name is the key in goals and in reports.
type Metric struct {
	Name, Title string
	Brief       string // its column in a summary of phases; "": it has none
	Seconds     bool   // otherwise it counts
	// Planned and Unplanned are the goals where a plan sets none, of a move of the home and
	// of everything else; below 0: none.
	Planned, Unplanned float64
}

const none = -1

// Metrics are all that is measured of a phase, in the order of reports.
var Metrics = []Metric{
	{"detect", "the loss is noticed", "", true, none, none},
	{"decide", "a voter promises the home", "", true, none, none},
	{"promote", "the home is served again", "", true, none, none},
	{"first_device", "the first device is served", "first device", true, none, none},
	{"p50", "50% of the devices are served", "", true, none, none},
	{"p95", "95% of the devices are served", "95% served", true, none, none},
	{"p999", "99.9% of the devices are served", "", true, none, none},
	{"gap", "the longest silence of a device", "silence", true, none, none},
	{"away", "devices not served again", "away", false, 0, 0},
	{"unavailable", "messages unavailable until reconcile", "late", false, 0, none},
	{"lost", "acknowledged messages finally lost", "lost", false, 0, 0},
	{"doubled_qos1", "messages doubled at QoS 1", "doubled QoS 1", false, none, none},
	{"doubled_qos2", "messages doubled at QoS 2", "doubled QoS 2", false, 0, none},
	{"reordered", "messages out of order, beyond those that came late", "reordered", false, 0, 0},
	{"forgotten", "sessions forgotten", "forgotten", false, 0, 0},
	{"false_wills", "wills of devices that came back", "false wills", false, 0, 0},
}

// MetricOf finds a metric by its name.
func MetricOf(name string) (Metric, bool) {
	for _, m := range Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// Format writes a value of the metric; below 0 it was not seen.
func (m Metric) Format(v float64) string {
	switch {
	case v < 0:
		return "–"
	case m.Seconds:
		return seconds(v)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func seconds(v float64) string {
	d := time.Duration(v * float64(time.Second))
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", v)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
