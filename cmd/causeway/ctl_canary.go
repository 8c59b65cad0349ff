package main

import (
	"fmt"

	"causeway/internal/admin"
)

// canaryAge writes how long ago a canary crossed, of the worse direction.
func canaryAge(c *admin.LinkCanary) string {
	if c == nil {
		return "-"
	}
	return seconds(max(c.OutAgeSeconds, c.InAgeSeconds), true)
}

func canaryLine(c *admin.LinkCanary) string {
	if c == nil {
		return ""
	}
	line := fmt.Sprintf("the newest that arrived there was sent %s ago; the peer's newest came %s ago",
		seconds(c.OutAgeSeconds, true), seconds(c.InAgeSeconds, true))
	if c.RoundTripSeconds > 0 {
		line += "; home to home and back " + seconds(c.RoundTripSeconds, true)
	}
	return line
}
