package main

import (
	"fmt"
	"io"
	"strings"

	"causeway/internal/admin"
)

// printForeign shows a link to a broker of another make.
func (c *ctl) printForeign(w io.Writer, d admin.LinkDetail) {
	l, f := d.Link, d.Link.Foreign
	facts(w, "link", l.Name, "kind", "foreign broker, "+f.Direction, "state", l.State+" for "+ago(c.now(), l.Since), "reason", l.Reason,
		"broker", strings.TrimPrefix(l.Address+", "+f.Protocol, ", "),
		"connections", fmt.Sprintf("%d of %d, %d messages under way", f.ConnectionsUp, f.Connections, f.UnderWay),
		"lag", fmt.Sprintf("%s, %d messages", seconds(l.LagSeconds, true), l.LagMessages),
		"spool", fmt.Sprintf("%s of %s (%s%s), %d dropped; when full: %s", admin.FormatBytes(l.SpoolBytes), admin.FormatBytes(l.SpoolCapacityBytes),
			percent(l.SpoolBytes, l.SpoolCapacityBytes), fullIn(l), l.Dropped, d.AtLimit),
		"canary", foreignCanary(l),
		"sent", fmt.Sprintf("%d messages, %s; %d again, %d put off, %d without properties", f.MessagesOut, byteForms(l.Bytes, "out"), f.Again, f.PutOff, f.Bare),
		"received", fmt.Sprintf("%d messages, %s", f.MessagesIn, byteForms(l.Bytes, "in")),
		"dropped", linkDrops(f.Drops),
		"in", filters(d.In, "nothing"), "out", filters(d.Out, "nothing"), "never", filters(d.Never, "-"), "qos", fmt.Sprintf("at most %d", d.QoSMax))
}

func foreignCanary(l admin.Link) string {
	k := l.Canary
	if k == nil {
		return "-"
	}
	out := seconds(k.OutAgeSeconds, true) + " old at the broker"
	if l.Foreign.CanaryReturns {
		out += fmt.Sprintf(", %s old when it came back, there and back in %s", seconds(k.InAgeSeconds, true), seconds(k.RoundTripSeconds, k.RoundTripSeconds > 0))
	}
	return out
}

func linkDrops(list []admin.LinkDrops) string {
	var parts []string
	for _, d := range list {
		parts = append(parts, fmt.Sprintf("%d %s", d.Count, d.Reason))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}
