package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureTraces = "traces"

func (c *ctl) traceCommand() *cobra.Command {
	return alias("traces", group("trace", "Follow a client, a topic or an address: why is it offline, where do its messages go",
		`A trace runs at all nodes of the region until its time is over, and keeps the newest
lines of each; older ones that made room are counted. It has connects and why they
were refused, subscriptions, publishes, denials with the rule, deliveries,
acknowledgements, how connections ended, and what goes to links and comes from them.
Payloads are recorded only if that is asked for, by an admin. Nothing survives a
restart of the node that saw it.`,
		`  causeway ctl trace start --client car-7 --follow
  causeway ctl trace start --topic 'cmd/#' --for 1h
  causeway ctl trace start --address 10.7.0.0/16
  causeway ctl trace get ID -o ndjson
  causeway ctl trace stop ID`,
		c.traceStart(),
		leaf("list", "The traces that run, and those that ended whose lines are there", func(cmd *cobra.Command, _ []string) error {
			return get(c, cmd, featureTraces, admin.Path("traces"), nil, func(w io.Writer, l admin.TraceList) {
				c.printTraces(w, l.Items)
				printUnanswered(cmd.ErrOrStderr(), l.Unanswered)
			})
		}),
		c.traceGet(),
		c.changing(leaf("stop ID", "End a trace at all nodes; its lines stay", func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, change{method: http.MethodPost, feature: featureTraces, path: admin.Path("traces", args[0], "stop")})
		}))))
}

func (c *ctl) traceStart() *cobra.Command {
	var client, topic, address, ns, howLong string
	var lines int
	var payload, follow bool
	cmd := leaf("start", "Begin to follow a client id, a topic filter, or an address or prefix of addresses", func(cmd *cobra.Command, _ []string) error {
		if countSet(client, topic, address) != 1 {
			return usageError(cmd, fmt.Errorf("give one of --client, --topic and --address"))
		}
		p := url.Values{}
		switch {
		case client != "":
			p.Set("kind", "client")
		case topic != "":
			p.Set("kind", "topic")
		default:
			p.Set("kind", "address")
		}
		p.Set("value", cmp.Or(client, topic, address))
		setParam(p, "namespace", ns)
		setParam(p, "for", howLong)
		if cmd.Flags().Changed("lines") {
			p.Set("lines", fmt.Sprint(lines))
		}
		if payload {
			p.Set("payload", "true")
		}
		return c.startTrace(cmd, p, follow)
	})
	f := cmd.Flags()
	f.StringVar(&client, "client", "", "client `id`")
	f.StringVar(&topic, "topic", "", "topic `filter`, with + and # as in a subscription")
	f.StringVar(&address, "address", "", "`address`, or prefix as in 10.7.0.0/16")
	namespaceFlag(cmd, &ns, "", "namespace of the client or topic (default \"default\")")
	f.StringVar(&howLong, "for", "", "`how long`, up to 24h (default 10m)")
	f.IntVar(&lines, "lines", 0, "how many of the newest lines each node keeps, up to 50000 (default 10000)")
	f.BoolVar(&payload, "payload", false, "record the payloads, too (role admin)")
	f.BoolVarP(&follow, "follow", "f", false, "print what it sees until it is over or you interrupt, which does not end it")
	f.BoolVar(&c.dryRun, "dry-run", false, "say what would happen and do nothing")
	return cmd
}

// startTrace does not ask first: a trace changes nothing for devices and ends by itself.
func (c *ctl) startTrace(cmd *cobra.Command, p url.Values, follow bool) error {
	if c.dryRun {
		p.Set("dry_run", "true")
	}
	b, err := c.call(cmd, http.MethodPost, featureTraces, admin.Path("traces"), p, nil)
	if err != nil {
		return err
	}
	var t admin.TraceStarted
	if err := json.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("the answer of the node is not understood: %w", err)
	}
	if follow && !c.dryRun {
		printUnanswered(cmd.ErrOrStderr(), t.Unanswered)
		return c.readTrace(cmd, t.ID, p.Get("payload") == "true", true, "text")
	}
	return show(c, cmd, b, func(w io.Writer, t admin.TraceStarted) {
		if !t.DryRun {
			fmt.Fprintf(w, "trace %s\n", t.ID)
		}
		printChange(w, admin.Change{Action: t.Action, Target: t.Target, DryRun: t.DryRun, Effects: t.Effects})
		printUnanswered(cmd.ErrOrStderr(), t.Unanswered)
	})
}

func (c *ctl) traceGet() *cobra.Command {
	var payload, follow bool
	var form *choice
	cmd := leaf("get ID", "Print what a trace saw at all nodes, in the order of time", func(cmd *cobra.Command, args []string) error {
		return c.readTrace(cmd, args[0], payload, follow, form.value)
	})
	cmd.Flags().BoolVar(&payload, "payload", false, "with the payloads it recorded (role admin)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it sees until it is over")
	form = outputFlag(cmd, "text", "ndjson")
	return cmd
}

// tracePoll is how often a trace that is followed is asked for more.
const tracePoll = time.Second

// readTrace prints a trace page by page, and what follows while it runs.
func (c *ctl) readTrace(cmd *cobra.Command, id string, payload, follow bool, form string) error {
	params, out, missing := url.Values{}, cmd.OutOrStdout(), []admin.Unanswered(nil)
	if payload {
		params.Set("payload", "true")
	}
	for {
		setParam(params, "limit", fmt.Sprint(pageSize))
		b, err := c.call(cmd, http.MethodGet, featureTraces, admin.Path("traces", id), params, nil)
		if err != nil {
			return err
		}
		var page admin.TracePage
		if err := json.Unmarshal(b, &page); err != nil {
			return fmt.Errorf("the answer of the node is not understood: %w", err)
		}
		for i := range page.Items {
			if err := printTraceLine(out, &page.Items[i], form); err != nil {
				return err
			}
		}
		setParam(params, "after", page.Next)
		if !slices.Equal(missing, page.Unanswered) {
			missing = page.Unanswered
			printUnanswered(cmd.ErrOrStderr(), missing)
		}
		switch {
		case page.More:
		case !follow || page.Trace.State != "running":
			if page.Trace.Dropped > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d older lines made room for newer ones: follow something narrower, or with more --lines\n", page.Trace.Dropped)
			}
			return nil
		case sleep(cmd.Context(), tracePoll) != nil:
			return nil
		}
	}
}

// printTraceLine prints a line for people, or as JSON.
func printTraceLine(w io.Writer, l *admin.TraceLine, form string) error {
	if form == "ndjson" {
		b, err := json.Marshal(l)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", b)
		}
		return err
	}
	about := []string{cmp.Or(clean(l.ClientID), "-")}
	if l.Peer != "" {
		about[0] = "link " + clean(l.Peer)
	}
	if l.Topic != "" {
		about = append(about, clean(l.Topic), fmt.Sprintf("qos %d", l.QoS))
	}
	if l.Bytes > 0 {
		about = append(about, admin.FormatBytes(l.Bytes))
	}
	if l.PacketID > 0 {
		about = append(about, fmt.Sprintf("id %d", l.PacketID))
	}
	if l.Address != "" && (l.Event == "connected" || l.Event == "refused" || l.Event == "ended") {
		about = append(about, "from "+clean(l.Address))
	}
	if l.Reason != "" {
		about = append(about, clean(l.Reason))
	}
	if l.Payload != nil {
		about = append(about, fmt.Sprintf("%q", l.Payload))
	}
	_, err := fmt.Fprintf(w, "%s  %-8s %-12s %s\n", l.At.Format("15:04:05.000"), clean(l.Node), clean(l.Event), strings.Join(about, "  "))
	return err
}

func (c *ctl) printTraces(w io.Writer, items []admin.Trace) {
	t := c.table("ID", "FOLLOWS", "NAMESPACE", "STATE", "UNTIL", "-LINES", "-DROPPED", "NODES", "BY")
	for _, x := range items {
		t.row(x.ID, x.Kind+" "+x.Value, orDash(x.Namespace), x.State, x.Until.Format(time.RFC3339), fmt.Sprint(x.Lines), fmt.Sprint(x.Dropped), strings.Join(x.Nodes, ","), orDash(x.By))
	}
	t.print(w, "no trace runs, and none that ended is remembered")
}
