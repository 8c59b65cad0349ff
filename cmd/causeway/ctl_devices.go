package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const (
	featureDevices = "devices"
	featureBans    = "bans"
)

// clientsHistory is `clients history`.
func (c *ctl) clientsHistory() *cobra.Command {
	ns := ""
	cmd := leaf("history ID", "Why a device is offline: its last connections at all nodes, and how each ended", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, featureDevices, admin.Path("clients", ns, args[0], "history"), nil, c.printHistory(cmd))
	})
	namespaceFlag(cmd, &ns, defaultNamespace, "namespace of the client")
	return cmd
}

func (c *ctl) printHistory(cmd *cobra.Command) func(io.Writer, admin.DeviceHistory) {
	return func(w io.Writer, h admin.DeviceHistory) {
		fmt.Fprintf(w, "%s: %s\n\n", clean(h.ClientID), clean(h.Verdict))
		t := c.table("AT", "NODE", "WHAT", "FROM", "LISTENER", "USER", "MQTT", "-LASTED", "-IN", "-OUT", "WHY")
		for _, e := range h.Events {
			lasted, in, out, why := "-", "-", "-", strings.TrimSuffix(e.Reason+": "+e.Detail, ": ")
			switch {
			case e.Event == "ended":
				lasted, in, out = admin.FormatDuration(e.LastedSeconds.Duration()), admin.FormatBytes(e.BytesIn), admin.FormatBytes(e.BytesOut)
				why = e.Reason + ": " + admin.EndWords(e.Reason)
			case e.Event == "connected":
				why = "a new session"
				if e.Present {
					why = "found its session"
				}
				if e.TookOver {
					why += ", taken from another connection"
				}
			}
			t.row(e.At.Format("2006-01-02 15:04:05.000"), e.Node, e.Event, orDash(e.Address), orDash(e.Listener), orDash(e.Username), orDash(e.Protocol), lasted, in, out, why)
		}
		t.print(w, "no node remembers a connection of it: they remember the last hours or days, and nothing from before they started")
		printUnanswered(cmd.ErrOrStderr(), h.Unanswered)
	}
}

// top is a list of those that have most of something.
func (c *ctl) top(kinds []string, by string, short string) *cobra.Command {
	limit := 0
	cmd := leaf("top", short, func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "by", by)
		setParam(params, "limit", fmt.Sprint(limit))
		return get(c, cmd, featureDevices, admin.Path("top"), params, c.printTop(cmd))
	})
	cmd.Flags().IntVar(&limit, "limit", 20, "how many to show")
	if len(kinds) > 1 {
		cmd.Flags().StringVar(&by, "by", by, "what they have most of: "+strings.Join(kinds, ", "))
	}
	return cmd
}

func (c *ctl) clientsTop() *cobra.Command {
	return c.top([]string{admin.TopConnects, admin.TopTakeovers, admin.TopRefused, admin.TopBytes, admin.TopMemory, admin.TopInFlight}, admin.TopConnects,
		"The devices that connect, are taken over, or are refused most often, send most, or read slowest (memory, in_flight)")
}

func (c *ctl) sessionsTop() *cobra.Command {
	return c.top(nil, admin.TopQueue, "The sessions for which most messages wait")
}

func (c *ctl) printTop(cmd *cobra.Command) func(io.Writer, admin.TopPage) {
	return func(w io.Writer, p admin.TopPage) {
		if p.Since != nil {
			fmt.Fprintf(w, "by %s, within the last %s\n", p.By, ago(c.now(), *p.Since))
		}
		t := c.table("NAMESPACE", "CLIENT", "NODE", "-"+strings.ToUpper(p.By), "-BYTES")
		for _, d := range p.Items {
			value, bytes := fmt.Sprint(d.Value), "-"
			switch {
			case p.By == admin.TopBytes || p.By == admin.TopMemory:
				value = admin.FormatBytes(d.Value)
			case p.By == admin.TopQueue:
				bytes = admin.FormatBytes(d.Bytes)
			case d.Error > 0:
				value = fmt.Sprintf("%d-%d", d.Value-d.Error, d.Value)
			}
			t.row(d.Namespace, d.ClientID, orDash(d.Node), value, bytes)
		}
		t.print(w, "no device")
		printUnanswered(cmd.ErrOrStderr(), p.Unanswered)
	}
}

func (c *ctl) banCommand() *cobra.Command {
	return alias("bans", group("ban", "Keep devices out",
		`A ban holds at all nodes of the region, and where its home is stood by for, as soon
as it is written; connections that it concerns close. An address is not let in
before TLS; a client id or a user is told so (0x8A). Sessions stay.

Devices that connect too often can be jailed for a while: held, then closed without
an answer, so that they come less often and do not give up. That is off unless it
is asked for.`,
		`  causeway ctl ban list
  causeway ctl ban add --client car-7 --for 1h --reason mad
  causeway ctl ban add --address 10.7.0.0/16 --yes
  causeway ctl ban del 5f2c0a917be01c44
  causeway ctl ban flapping --connects 30 --within 1m --jail 10m`,
		leaf("list", "Who is kept out", func(cmd *cobra.Command, _ []string) error {
			return get(c, cmd, featureBans, admin.Path("bans"), nil, c.printBans)
		}),
		c.banAdd(),
		c.changing(leaf("del ID", "Take a ban back", func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, change{method: http.MethodDelete, feature: featureBans, path: admin.Path("bans", args[0])})
		})),
		c.banFlapping()))
}

func (c *ctl) banAdd() *cobra.Command {
	var client, user, address, ns, reason, howLong string
	cmd := c.changing(leaf("add", "Keep a client id, a user or a prefix of addresses out", func(cmd *cobra.Command, _ []string) error {
		if countSet(client, user, address) != 1 {
			return usageError(cmd, fmt.Errorf("give one of --client, --user and --address"))
		}
		p := url.Values{}
		switch {
		case client != "":
			p.Set("kind", "client")
		case user != "":
			p.Set("kind", "user")
		default:
			p.Set("kind", "address")
		}
		p.Set("value", cmp.Or(client, user, address))
		setParam(p, "namespace", ns)
		setParam(p, "for", howLong)
		setParam(p, "reason", reason)
		return c.change(cmd, change{method: http.MethodPost, feature: featureBans, path: admin.Path("bans"), params: p})
	}))
	f := cmd.Flags()
	f.StringVar(&client, "client", "", "client `id`")
	f.StringVar(&user, "user", "", "user `name`")
	f.StringVar(&address, "address", "", "`address` or prefix, as 10.7.0.0/16")
	namespaceFlag(cmd, &ns, "", "namespace of the client or user (default: default)")
	f.StringVar(&howLong, "for", "", "for how long, as 1h (default: until it is taken back)")
	f.StringVar(&reason, "reason", "", "why, for others to read")
	return cmd
}

func (c *ctl) banFlapping() *cobra.Command {
	connects, within, jail, off := 0, "", "", false
	cmd := c.changing(leaf("flapping", "Jail devices that connect too often, or show the rule", func(cmd *cobra.Command, _ []string) error {
		if !off && connects == 0 {
			return get(c, cmd, featureBans, admin.Path("flapping"), nil, func(w io.Writer, f admin.Flapping) {
				if !f.Enabled {
					fmt.Fprintln(w, "devices that flap are not jailed")
					return
				}
				fmt.Fprintf(w, "who connects %d times within %s at one node is jailed for %s\n", f.Connects, f.WithinSeconds.Duration(), f.JailSeconds.Duration())
			})
		}
		p := url.Values{}
		if off {
			p.Set("off", "true")
		} else {
			p.Set("connects", fmt.Sprint(connects))
			p.Set("within", within)
			p.Set("jail", jail)
		}
		return c.change(cmd, change{method: http.MethodPost, feature: featureBans, path: admin.Path("flapping"), params: p})
	}))
	cmd.Flags().IntVar(&connects, "connects", 0, "so many at one node")
	cmd.Flags().StringVar(&within, "within", "1m", "in so long")
	cmd.Flags().StringVar(&jail, "jail", "10m", "for so long")
	cmd.Flags().BoolVar(&off, "off", false, "jail nobody")
	return cmd
}

func (c *ctl) printBans(w io.Writer, page admin.Page[admin.Ban]) {
	t := c.table("ID", "KIND", "NAMESPACE", "WHO", "FOR ANOTHER", "BY", "HOME", "SINCE", "REASON")
	for _, b := range page.Items {
		left := "ever"
		if b.Until != nil {
			left = admin.FormatDuration(max(0, b.Until.Sub(c.now())).Round(time.Second))
		}
		t.row(b.ID, b.Kind, orDash(b.Namespace), b.Value, left, b.By, b.Home, ago(c.now(), b.At)+" ago", orDash(b.Reason))
	}
	t.print(w, "nobody is banned")
}
