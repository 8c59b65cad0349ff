package config

import (
	"fmt"
	"strings"
	"time"
)

// What a leaf has where its file says nothing: it is dialled by nobody, may be cut off for a week,
// and its disk is small.
const (
	leafSpoolBytes = 4 << 30
	leafSpoolAge   = 7 * 24 * time.Hour
	leafQueueBytes = 64 << 20
)

func (c *Config) fillLeaf(unset func(string) bool) {
	if unset("link.listen") {
		c.Link.Listen = ""
		if unset("link.listen_tcp") {
			c.Link.ListenTCP = ""
		}
	}
	if unset("limits.queue_bytes") {
		c.Limits.QueueBytes = leafQueueBytes
	}
	for i := range c.Links {
		key := fmt.Sprintf("links[%d].spool.", i)
		if unset(key + "bytes") {
			c.Links[i].Spool.Bytes = leafSpoolBytes
		}
		if unset(key + "age") {
			c.Links[i].Spool.Age = leafSpoolAge
		}
	}
}

// leaf checks what a leaf may not have.
func (v *validator) leaf(c *Config) {
	if !c.Leaf {
		return
	}
	v.check(c.Role == RoleCore, "role", "is "+string(c.Role)+", and leaf says that the region has one node", "remove role, or leaf")
	v.check(!c.Cluster.Configured(), "cluster", "is set, and leaf says that the region has one node", "remove cluster, or leaf")
	v.check(len(c.Link.Relay) == 0, "link.relay", "is set, and a leaf relays for nobody", "let its hub relay, or remove leaf")
	hubs, all := 0, 0
	for i, l := range c.Links {
		if l.IsForeign() {
			continue
		}
		all++
		if l.direct() {
			hubs++
		}
		v.check(len(l.Dial) > 0, fmt.Sprintf("links[%d].dial", i), "is empty, and nobody dials a leaf", "give the hub's addresses, or relay://HUB for a region behind it")
	}
	switch {
	case all == 0:
		v.add("links", "has no hub", "a leaf has one link with the hub's addresses, or remove leaf")
	case hubs != 1:
		v.add("links", fmt.Sprintf("has %d peers with addresses of their own", hubs), "a leaf has one, its hub: reach others by relay://HUB, or remove leaf")
	}
}

// direct says whether the peer is reached without another region.
func (l *Link) direct() bool {
	for _, at := range l.Dial {
		if !strings.HasPrefix(at, relayScheme) {
			return true
		}
	}
	return false
}
