package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// ObjectsCounts are totals about what is configured of the region.
type ObjectsCounts struct {
	Revision         uint64 // in force on this node; 0: the node file
	Trying           bool   // it is a candidate
	Problem          bool   // a newer one is not in force here
	Denials          []RuleDenials
	DeniedSubscribes int64 // filters
	Throttled        int64 // messages of MQTT 3.x for which a device was not read for a moment
}

// maxDenialSeries bounds the rules that have series of their own: an operator names them.
const maxDenialSeries = 100

var (
	descObjectsRevision = desc("objects_revision", "Revision of the region objects in force on this node; 0 is the node file.")
	descObjectsTrying   = desc("objects_trying", "1 while this node tries a file of region objects.")
	descObjectsProblem  = desc("objects_problem", "1 while newer region objects cannot be in force on this node.")
	descACLDenied       = desc("acl_denied_total", "What the first hundred access rules in force denied, by rule and revision of the region objects (0: of the node's file).", "rule", "revision", "act")
	descSubsDenied      = desc("subscribes_denied_total", "Filters of SUBSCRIBE that access rules denied.")
	descThrottled       = desc("publishes_throttled_total", "Messages of MQTT 3.x for which a device was not read for a moment, since its namespace was beyond its rate.")
)

var objectsDescs = []*prometheus.Desc{descObjectsRevision, descObjectsTrying, descObjectsProblem, descACLDenied, descSubsDenied, descThrottled}

func (s *samples) objects(c *ObjectsCounts) {
	s.add(descObjectsRevision, float64(c.Revision))
	s.add(descObjectsTrying, oneIf(c.Trying))
	s.add(descObjectsProblem, oneIf(c.Problem))
}

func (s *samples) denials(c *ObjectsCounts) {
	s.add(descSubsDenied, float64(c.DeniedSubscribes))
	s.add(descThrottled, float64(c.Throttled))
	for _, d := range c.Denials[:min(len(c.Denials), maxDenialSeries)] {
		revision := strconv.FormatUint(d.Revision, 10)
		s.add(descACLDenied, float64(d.Publishes), d.Rule, revision, "publish")
		s.add(descACLDenied, float64(d.Subscribes), d.Rule, revision, "subscribe")
	}
}
