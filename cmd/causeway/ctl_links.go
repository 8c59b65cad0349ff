package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) linkCommand() *cobra.Command {
	list := leaf("list", "The links to peer regions", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "links", admin.Path("links"), nil, func(w io.Writer, p admin.Page[admin.Link]) {
			c.printLinks(c.now())(w, p.Items)
		})
	})
	show := leaf("show PEER", "One link with its policy, its spools and its cursors", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, "links", admin.Path("links", args[0]), nil, c.printLink)
	})
	more := append(c.linkControl(), c.linkTestCommand())
	return alias("links", group("link", "Links to peer regions", "", "", append([]*cobra.Command{list, show}, more...)...))
}

func (c *ctl) printLinks(now time.Time) func(io.Writer, []admin.Link) {
	return func(w io.Writer, links []admin.Link) {
		t := c.table("PEER", "STATE", "-FOR", "-RTT", "-CANARY", "-LAG", "-MESSAGES", "-SPOOL", "-FULL", "-DROPPED", "REASON")
		for _, l := range links {
			t.row(peerName(l), linkState(l), ago(now, l.Since), seconds(l.RTTSeconds, l.Address != ""), canaryAge(l.Canary), seconds(l.LagSeconds, true), l.LagMessages,
				admin.FormatBytes(l.SpoolBytes), percent(l.SpoolBytes, l.SpoolCapacityBytes), l.Dropped, orDash(cmp.Or(l.Reason, c.pauseLine(l.Pause))))
		}
		t.print(w, "no links")
	}
}

// peerName says which peers are leaves.
func peerName(l admin.Link) string {
	if l.Leaf {
		return l.Peer + " (leaf)"
	}
	return l.Peer
}

// seconds writes a duration that is known only sometimes.
func seconds(s admin.Seconds, known bool) string {
	if !known {
		return "-"
	}
	return admin.FormatDuration(s.Duration())
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", float64(part)/float64(whole)*100)
}

func (c *ctl) printLink(w io.Writer, d admin.LinkDetail) {
	l := d.Link
	if l.Foreign != nil {
		c.printForeign(w, d)
		return
	}
	how := "by the peer"
	if l.Dialled {
		how = "by this side"
	}
	tunnel := ""
	if l.Address != "" || l.Via != "" {
		where := "to " + l.Address
		if l.Via != "" {
			where = "through " + l.Via
		}
		if l.ConnectionsReason != "" {
			where += fmt.Sprintf(" over %d connections (%s)", l.Connections, l.ConnectionsReason)
		}
		tunnel = fmt.Sprintf("%s %s, dialled %s, round trip %s", l.Transport, where, how, seconds(l.RTTSeconds, true))
	}
	if l.TransportReason != "" {
		tunnel += "; " + l.TransportReason
	}
	facts(w, "link", l.Name, "peer", peerName(l), "state", linkState(l)+" for "+ago(c.now(), l.Since), "paused", c.pauseLine(l.Pause), "reason", l.Reason, "tunnel", tunnel,
		"canary", canaryLine(l.Canary),
		"lag", fmt.Sprintf("%s, %d messages", seconds(l.LagSeconds, true), l.LagMessages),
		"spool", fmt.Sprintf("%d messages, %s of %s (%s%s), %d dropped; when full: %s", l.SpoolMessages, admin.FormatBytes(l.SpoolBytes),
			admin.FormatBytes(l.SpoolCapacityBytes), percent(l.SpoolBytes, l.SpoolCapacityBytes), fullIn(l), l.Dropped, d.AtLimit),
		"sent", byteForms(l.Bytes, "out"), "received", byteForms(l.Bytes, "in"), "relayed", relayed(l), "not relayed", notRelayed(l),
		"in", filters(d.In, "everything the peer sends"), "out", filters(d.Out, "everything the peer wants"), "never", filters(d.Never, "-"), "qos", fmt.Sprintf("at most %d", d.QoSMax),
		"prefix", d.InPrefix, "rate", rateLine(d), "slowed", slowedLine(l),
		"peer wants", fmt.Sprintf("%d filters (version %d, epoch %d)", d.Interest.Filters, d.Interest.Version, d.Interest.Epoch))
	fmt.Fprintln(w)
	c.printClasses(w, d.Spools)
	if len(d.Cursors) > 0 {
		fmt.Fprintln(w)
		t := c.table("FROM HOME", "-EPOCH", "CLASS", "-RECEIVED SEQ")
		for _, x := range d.Cursors {
			t.row(x.Home, x.Epoch, orDash(x.Class), x.Seq)
		}
		t.print(w, "")
	}
}

func (c *ctl) printClasses(w io.Writer, classes []admin.LinkSpool) {
	t := c.table("CLASS", "FILTERS", "-MESSAGES", "-BYTES", "-OLDEST", "-ACKED SEQ", "-DROPPED")
	for _, s := range classes {
		t.row(orDash(s.Class), filters(s.Filters, "all the others"), s.Messages, admin.FormatBytes(s.Bytes), seconds(s.OldestSeconds, s.Messages > 0), s.AckedSeq, s.Dropped)
	}
	t.print(w, "nothing is spooled")
}

// rateLine says what is sent at most, if that is bounded.
func rateLine(d admin.LinkDetail) string {
	if d.Rate == "0" || d.Rate == "" {
		return ""
	}
	return fmt.Sprintf("at most %s; frames waited %s for it", d.Rate, seconds(d.Link.ThrottledSeconds, true))
}

// slowedLine says for how long what came waited for slow devices, if it did.
func slowedLine(l admin.Link) string {
	if l.SlowedSeconds == 0 {
		return ""
	}
	return "what came waited " + seconds(l.SlowedSeconds, true) + " for connected devices whose queues fill up"
}

// fullIn says when the spool is full at its pace, if it can be said.
func fullIn(l admin.Link) string {
	if l.SpoolFullInSeconds == 0 {
		return ""
	}
	return ", full in " + seconds(l.SpoolFullInSeconds, true)
}

// relayed writes what this region relays from the peer to others.
func relayed(l admin.Link) string {
	var parts []string
	for _, r := range l.Relayed {
		parts = append(parts, fmt.Sprintf("%s to %s in %d tunnels (%d open)", admin.FormatBytes(r.Bytes), r.To, r.Tunnels, r.Open))
	}
	return strings.Join(parts, ", ")
}

// notRelayed writes what the peer wanted relayed in vain.
func notRelayed(l admin.Link) string {
	var parts []string
	for _, r := range l.RelayRefused {
		parts = append(parts, fmt.Sprintf("%d %s", r.Count, r.Reason))
	}
	return strings.Join(parts, ", ")
}

// byteForms writes what crossed in one direction.
func byteForms(bytes []admin.LinkBytes, direction string) string {
	var parts []string
	for _, b := range bytes {
		if b.Direction == direction {
			parts = append(parts, admin.FormatBytes(b.Bytes)+" "+b.Form)
		}
	}
	return strings.Join(parts, ", ")
}

func filters(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, " ")
}

func (c *ctl) peerCommand() *cobra.Command {
	forget := c.changing(leaf("forget PEER", "Drop what a peer wants and what is spooled for it; it cannot be had back", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: "peers", path: admin.Path("peers", args[0], "forget"),
			body: admin.ForgetRequest{Confirm: args[0]}, confirm: args[0]})
	}))
	forget.Example = "  causeway ctl peer forget us --dry-run"
	return alias("peers", group("peer", "Peer regions this one keeps something for", "", "", forget))
}

func (c *ctl) routesCommand() *cobra.Command {
	var ns string
	test := leaf("test TOPIC", "Where a message would go, and why; nothing is sent", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, "routes", admin.Path("routes"), url.Values{"topic": {args[0]}, "namespace": {ns}}, c.printRoute)
	})
	namespaceFlag(test, &ns, defaultNamespace, "namespace of the publisher")
	return alias("route", group("routes", "Where messages go", "", "", test))
}

func (c *ctl) printRoute(w io.Writer, r admin.Route) {
	ack := r.Ack
	if r.AckFilter != "" {
		ack += " (by the filter " + r.AckFilter + ")"
	}
	facts(w, "topic", r.Topic, "namespace", r.Namespace, "ack", ack,
		"goes to", fmt.Sprintf("sessions %d, shared groups %d, peers %d", r.Sessions, r.Groups, r.Peers))
	fmt.Fprintln(w)
	t := c.table("KIND", "NAME", "SENT", "-QOS", "WHY")
	for _, x := range r.Targets {
		t.row(x.Kind, x.Name, yesNo(x.Sends), x.QoS, x.Reason)
	}
	t.print(w, "nobody wants it")
	if r.Truncated {
		fmt.Fprintln(w, "there are more targets")
	}
}

func (c *ctl) retainedCommand() *cobra.Command {
	var l lister
	var namespace, filter string
	list := leaf("list", "The retained messages, without payloads", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "namespace", namespace)
		setParam(params, "filter", filter)
		return pages(c, cmd, l, "retained", admin.Path("retained"), params, c.printRetained)
	})
	l.flags(list)
	namespaceFlag(list, &namespace, "", "only this namespace")
	list.Flags().StringVar(&filter, "filter", "", "only topics that this topic filter matches")

	var ns string
	var raw bool
	read := leaf("get TOPIC", "One retained message with its payload", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, "retained", admin.Path("retained", ns, args[0]), nil, func(w io.Writer, d admin.RetainedDetail) {
			if raw {
				_, _ = w.Write(d.Payload) // stdout is gone
				return
			}
			c.printRetainedDetail(w, d)
		})
	})
	read.Flags().BoolVar(&raw, "raw", false, "write the payload alone, byte by byte")
	del := c.changing(leaf("delete TOPIC", "Remove a retained message, here and at the peers", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodDelete, feature: "retained", path: admin.Path("retained", ns, args[0])})
	}))
	for _, cmd := range []*cobra.Command{read, del} {
		namespaceFlag(cmd, &ns, defaultNamespace, "namespace of the message")
	}
	return group("retained", "Retained messages", "", "", list, read, del, c.retainedExport(), c.retainedImport())
}

func (c *ctl) printRetained(w io.Writer, items []admin.Retained) {
	t := c.table("NAMESPACE", "TOPIC", "-QOS", "-BYTES", "-VERSION", "HOME", "EXPIRES IN")
	for _, r := range items {
		t.row(r.Namespace, r.Topic, r.QoS, admin.FormatBytes(r.Bytes), r.Version, r.Home, until(c.now(), r.ExpiresAt))
	}
	t.print(w, "no retained messages")
}

func (c *ctl) printRetainedDetail(w io.Writer, d admin.RetainedDetail) {
	r := d.Retained
	facts(w, "topic", r.Topic, "namespace", r.Namespace, "qos", fmt.Sprint(r.QoS), "size", admin.FormatBytes(r.Bytes),
		"version", fmt.Sprintf("%d from home %s", r.Version, r.Home), "expires in", until(c.now(), r.ExpiresAt))
	fmt.Fprintln(w)
	if isText(d.Payload) {
		fmt.Fprintln(w, string(d.Payload))
		return
	}
	fmt.Fprintf(w, "%x\n", d.Payload)
}

// isText says whether a payload can be shown on a terminal as it is.
func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return false
		}
	}
	return true
}
