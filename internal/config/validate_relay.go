package config

import (
	"fmt"
	"slices"
	"strings"
)

const relayScheme = "relay://"

// leastRelayRate lets through what relayed tunnels need to live.
const leastRelayRate Bandwidth = 100_000

// dialRelay checks that a link may go through another peer: one that is reached without a relay,
// since a relayed tunnel carries no other.
func (v *validator) dialRelay(at, via string, l Link, c *Config) {
	i := slices.IndexFunc(c.Links, func(o Link) bool { return o.Peer == via })
	if !v.check(i >= 0 && via != l.Peer, at, fmt.Sprintf("%q is no other peer of this region", via),
		"name a region that another entry of links leads to, such as relay://hub") {
		return
	}
	dial := c.Links[i].Dial
	relayedOnly := len(dial) > 0 && !slices.ContainsFunc(dial, func(a string) bool { return !strings.HasPrefix(a, relayScheme) })
	v.check(!relayedOnly, at, fmt.Sprintf("%q is itself reached through a relay only, and a relayed tunnel carries no other", via),
		fmt.Sprintf("give links[%d].dial an address, or name another relay", i))
}

// relay checks between whom this region relays.
func (v *validator) relay(c *Config) {
	for i, r := range c.Link.Relay {
		key := fmt.Sprintf("link.relay[%d].between", i)
		v.check(r.Rate == 0 || r.Rate >= leastRelayRate && r.Rate.Validate() == nil, fmt.Sprintf("link.relay[%d].rate", i), r.Rate.String()+" is out of range",
			"want "+leastRelayRate.String()+" to "+mostBandwidth.String()+", or 0 for no bound")
		v.check(len(r.Between) >= 2, key, fmt.Sprintf("names %d regions", len(r.Between)), "name two peers or more")
		for j, region := range r.Between {
			at := fmt.Sprintf("%s[%d]", key, j)
			known := slices.ContainsFunc(c.Links, func(l Link) bool { return l.Peer == region })
			v.check(known, at, fmt.Sprintf("%q is no peer of this region", region), "name the peer of one of links")
			v.check(!slices.Contains(r.Between[:j], region), at, fmt.Sprintf("%q is listed twice", region), "keep one of them")
		}
	}
}
