package foreign

import (
	"strings"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// A trail is the links to foreign brokers that a message went over, REGION/LINK each, separated by spaces, the last one
// last. Towards an MQTT 5 broker it stands in a user property, since there is no other place; it is taken out when the
// message comes in, so that no device sees it. Whoever may publish at the broker can forge it, and has a message of his
// own dropped by it.
const trailProperty = "causeway-trail"

// maxHops is how many foreign links a message goes over. No sensible chain of brokers is so long; a trail that was
// forged is.
const maxHops = 8

func hops(trail string) int { return len(strings.Fields(trail)) }

// mark adds this link to a message's properties.
func (l *linkTo) mark(m *home.Message) []byte {
	own := l.m.o.Region + "/" + l.cfg.Name
	if m.Trail != "" {
		own = m.Trail + " " + own
	}
	forward := make([]byte, 0, len(m.Forward)+len(own)+32)
	return packet.AppendUserProperty(append(forward, m.Forward...), trailProperty, own)
}

// cutTrail takes the trail out of a message's properties.
func cutTrail(forward []byte) (trail string, rest []byte) {
	values, rest := packet.CutUserProperty(forward, trailProperty)
	return strings.Join(strings.Fields(strings.Join(values, " ")), " "), rest
}

// regions are those whose links are on a trail.
func regions(trail string) (list []home.ID) {
	for _, hop := range strings.Fields(trail) {
		region, _, _ := strings.Cut(hop, "/")
		list = append(list, home.ID(region))
	}
	return list
}

// loops says whether a message that comes in was in this region before, or went round elsewhere.
func (l *linkTo) loops(trail string) bool {
	if hops(trail) >= maxHops {
		return true
	}
	for _, region := range regions(trail) {
		if string(region) == l.m.o.Region {
			return true
		}
	}
	return false
}
