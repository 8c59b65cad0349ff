package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureEvacuations = "evacuations"

func (c *ctl) evacuationCommand() *cobra.Command {
	return alias("evacuations", group("evacuation", "Send a node's devices to the others, so that it can be stopped or replaced",
		`Load balancers hear first (/readyz says 503, evacuating), and the node hands over
what it leads. Then it takes no new connections and closes those it has at a pace,
each once what is under way on it is answered; devices come back at the other
nodes, which have their sessions. No message is lost and no will fires. At the end
the node has nothing to do and may be stopped; it stays so, through restarts,
until the evacuation is stopped.

  waiting_health_check -> evicting_conns -> waiting_takeover -> evicting_sessions -> prohibiting

Any node of the region may be asked. It is refused (exit code 3) when the other
nodes would not be a majority, or none of them takes devices.

Exit codes of --wait: 0 the node may be stopped, 5 it was stopped by somebody,
6 it goes on and was not done in time.`,
		`  causeway ctl evacuation start --node eu-2 --dry-run
  causeway ctl evacuation start --node eu-2 --reason kernel --yes --wait
  causeway ctl evacuation status
  causeway ctl evacuation stop --node eu-2`,
		c.evacuationStart(), c.evacuationStatus(), c.evacuationStop()))
}

// paceFlags are those that evacuations and a rebalance have in common.
type paceFlags struct {
	connRate, sessRate       perSecond
	waitHealth, waitTakeover string
	reason, node             string
	wait                     bool
	timeout                  time.Duration
}

func (f *paceFlags) add(cmd *cobra.Command) {
	perSecondFlag(cmd, &f.connRate, "conn-evict-rate", "connections closed a second (default 500/s)")
	cmd.Flags().StringVar(&f.waitHealth, "wait-health-check", "", "how long load balancers are given to notice (default 60s)")
	cmd.Flags().StringVar(&f.waitTakeover, "wait-takeover", "", "how long devices are given to come back elsewhere (default 60s)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for others to read")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "show how it goes on until it ended")
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Hour, "how long to look on")
}

func (f *paceFlags) params(cmd *cobra.Command) url.Values {
	p := url.Values{}
	for name, v := range map[string]perSecond{"conn-evict-rate": f.connRate, "sess-evict-rate": f.sessRate} {
		if cmd.Flags().Changed(name) {
			p.Set(strings.ReplaceAll(name, "-", "_"), fmt.Sprint(int(v)))
		}
	}
	setParam(p, "wait_health_check", f.waitHealth)
	setParam(p, "wait_takeover", f.waitTakeover)
	setParam(p, "reason", f.reason)
	return p
}

// nodeOr is the node that was named, or the one that is asked.
func (c *ctl) nodeOr(cmd *cobra.Command, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	b, err := c.call(cmd, http.MethodGet, "status", admin.Path("status"), nil, nil)
	if err != nil {
		return "", err
	}
	var st admin.Status
	if err := understand(b, &st); err != nil {
		return "", err
	}
	return st.Node, nil
}

func (c *ctl) evacuationStart() *cobra.Command {
	var f paceFlags
	cmd := c.changing(leaf("start", "Begin to evacuate a node", func(cmd *cobra.Command, _ []string) error {
		node, err := c.nodeOr(cmd, f.node)
		if err != nil {
			return err
		}
		x := change{method: http.MethodPost, feature: featureEvacuations, path: admin.Path("evacuations", node, "start"), params: f.params(cmd)}
		if !f.wait || c.dryRun {
			return c.change(cmd, x)
		}
		began, err := c.changed(cmd, x)
		if err != nil || began == nil {
			return err
		}
		return c.watchEvacuation(cmd, nodeEvacuation(node), f.timeout)
	}))
	f.add(cmd)
	perSecondFlag(cmd, &f.sessRate, "sess-evict-rate", "sessions let go of a second (default 500/s)")
	cmd.Flags().StringVar(&f.node, "node", "", "`name` of the node (default: the one that is asked)")
	return cmd
}

func (c *ctl) evacuationStop() *cobra.Command {
	node := ""
	cmd := c.changing(leaf("stop", "Have a node take devices again, however far its evacuation was", func(cmd *cobra.Command, _ []string) error {
		name, err := c.nodeOr(cmd, node)
		if err != nil {
			return err
		}
		return c.change(cmd, change{method: http.MethodPost, feature: featureEvacuations, path: admin.Path("evacuations", name, "stop")})
	}))
	cmd.Flags().StringVar(&node, "node", "", "`name` of the node (default: the one that is asked)")
	return cmd
}

func (c *ctl) evacuationStatus() *cobra.Command {
	node, wait, timeout := "", false, time.Duration(0)
	cmd := leaf("status", "How far evacuations are", func(cmd *cobra.Command, _ []string) error {
		switch {
		case wait:
			name, err := c.nodeOr(cmd, node)
			if err != nil {
				return err
			}
			return c.watchEvacuation(cmd, nodeEvacuation(name), timeout)
		case node != "":
			return get(c, cmd, featureEvacuations, admin.Path("evacuations", node), nil, c.printEvacuation)
		}
		return get(c, cmd, featureEvacuations, admin.Path("evacuations"), nil, c.printEvacuations)
	})
	cmd.Flags().StringVar(&node, "node", "", "only this `node`")
	cmd.Flags().BoolVar(&wait, "wait", false, "show how it goes on until it ended")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to look on")
	return cmd
}

// look asks for a thing that is looked at again and again: errors are the caller's to bear with.
func look[T any](c *ctl, cmd *cobra.Command, feature, path string) (v T, err error) {
	r, _, err := c.remote(cmd)
	if err != nil {
		return v, err
	}
	defer r.Close()
	b, err := r.Call(cmd.Context(), http.MethodGet, feature, path, nil, nil)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// evacuated is what is evacuated, and where its evacuation is looked at.
type evacuated struct{ name, path, status string }

func nodeEvacuation(node string) evacuated {
	return evacuated{node, admin.Path("evacuations", node), "causeway ctl evacuation status --node " + node}
}

// watchEvacuation shows how an evacuation goes on until what it empties may be stopped. The node that is asked may go
// meanwhile, for it may be the one that is evacuated, and restarted.
func (c *ctl) watchEvacuation(cmd *cobra.Command, of evacuated, limit time.Duration) error {
	end, shown, seen := time.Now().Add(limit), "", false
	var last error
	for time.Now().Before(end) {
		e, err := look[admin.Evacuation](c, cmd, featureEvacuations, of.path)
		var p *admin.Problem
		switch last = err; {
		case err == nil:
			seen = true
			if line := evacuationLine(&e); line != shown {
				shown = line
				fmt.Fprintf(cmd.ErrOrStderr(), "%8s  %s\n", admin.FormatDuration(max(0, c.now().Sub(e.Began))), clean(line))
			}
			if e.Done {
				return c.showEvacuation(cmd, &e)
			}
		case errors.As(err, &p) && p.Status == http.StatusNotFound && seen:
			return &exitError{exitAborted, fmt.Errorf("the evacuation of %s was stopped", of.name)}
		case errors.As(err, &p) && p.Status == http.StatusNotFound:
			return c.failed(cmd, err, nil)
		}
		if err := sleep(cmd.Context(), time.Second); err != nil {
			return err
		}
	}
	return &exitError{exitPartly, errors.Join(fmt.Errorf("it goes on, and was not done within %s; %s --wait", limit, of.status), last)}
}

func (c *ctl) showEvacuation(cmd *cobra.Command, e *admin.Evacuation) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return show(c, cmd, b, c.printEvacuation)
}

// evacuationLine is how far it is, in a line.
func evacuationLine(e *admin.Evacuation) string {
	line := fmt.Sprintf("%s: %d of %d connections left", e.State, e.Connections, e.ConnectionsBegan)
	switch {
	case e.Held != "":
		return line + "; HELD: " + e.Held
	case e.Done:
		return line + "; " + mayStop(e)
	}
	return line + ", about " + admin.FormatDuration(e.LeftSeconds.Duration().Round(time.Second)) + " to go"
}

func mayStop(e *admin.Evacuation) string {
	if e.Removable {
		return "it may be stopped"
	}
	return "do not stop it: " + cmp.Or(e.NotRemovable, "it is not done")
}

func (c *ctl) printEvacuations(w io.Writer, page admin.Page[admin.Evacuation]) {
	t := c.table("NODE", "STATE", "SINCE", "-LEFT", "-OF", "-ELSEWHERE", "ABOUT", "MAY BE STOPPED", "BY", "REASON")
	for _, e := range page.Items {
		t.row(e.Node, e.State, ago(c.now(), e.Since)+" ago", e.Connections, e.ConnectionsBegan, e.Elsewhere, admin.FormatDuration(e.LeftSeconds.Duration().Round(time.Second)), yesNo(e.Removable), e.By, orDash(cmp.Or(e.Held, e.Reason)))
	}
	t.print(w, "no node is evacuated")
}

func (c *ctl) printEvacuation(w io.Writer, e admin.Evacuation) {
	facts(w, "evacuated", e.Node, "state", e.State+", since "+ago(c.now(), e.Since), "held", e.Held, "reason", e.Reason, "by", e.By, "began", ago(c.now(), e.Began)+" ago",
		"connections", fmt.Sprintf("%d of %d left, %d/s", e.Connections, e.ConnectionsBegan, e.ConnEvictRate), "sessions", fmt.Sprintf("%d of %d owned", e.Sessions, e.SessionsBegan),
		"elsewhere", fmt.Sprintf("%d attached, %d when it began", e.Elsewhere, e.ElsewhereBegan),
		"expected", admin.FormatDuration(e.ExpectedSeconds.Duration()), "to go", admin.FormatDuration(e.LeftSeconds.Duration()))
	if e.Done {
		fmt.Fprintf(w, "\n%s\n", clean(mayStop(&e)))
	}
	fmt.Fprintln(w)
	for _, s := range e.Steps {
		fmt.Fprintf(w, "%8s  %s\n", admin.FormatDuration(max(0, s.At.Sub(e.Began))), clean(s.State))
	}
}

func (c *ctl) rebalanceCommand() *cobra.Command {
	return alias("rebalances", group("rebalance", "Have the nodes of a region hold about equally many devices",
		`Nodes with more connections than the mean (donors) tell load balancers to send
nobody, and close what they have above it at a pace; devices come back at the
others, which have their sessions. Nothing is done while the means of the two
groups differ by less than the thresholds.

Exit codes of --wait: 0 done, 4 a donor still has more than its share, 5 it was
stopped, 6 it goes on and was not done in time.`,
		`  causeway ctl rebalance start --dry-run
  causeway ctl rebalance start --abs-conn-threshold 500 --yes --wait
  causeway ctl rebalance status`,
		c.rebalanceStart(),
		leaf("status", "How far it is, or how the last one ended", c.rebalanceStatus),
		c.changing(leaf("stop", "Stop it; what was closed stays closed", func(cmd *cobra.Command, _ []string) error {
			return c.change(cmd, change{method: http.MethodPost, feature: featureEvacuations, path: admin.Path("rebalance", "stop")})
		}))))
}

func (c *ctl) rebalanceStatus(cmd *cobra.Command, _ []string) error {
	r, tried, err := c.remote(cmd)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := r.Call(cmd.Context(), http.MethodGet, featureEvacuations, admin.Path("rebalance"), nil, nil)
	var p *admin.Problem
	switch {
	case errors.As(err, &p) && p.Status == http.StatusNotFound && c.output.value == "table":
		fmt.Fprintln(cmd.OutOrStdout(), "the region was not rebalanced yet")
		return nil
	case errors.As(err, &p) && p.Status == http.StatusNotFound:
		return c.encode(cmd.OutOrStdout(), json.RawMessage("null"))
	case err != nil:
		return c.failed(cmd, err, tried)
	}
	return show(c, cmd, b, c.printRebalance)
}

func (c *ctl) rebalanceStart() *cobra.Command {
	var f paceFlags
	var nodes []string
	abs, rel := 0, 0.0
	cmd := c.changing(leaf("start", "Begin to balance nodes", func(cmd *cobra.Command, _ []string) error {
		p := f.params(cmd)
		setParam(p, "nodes", strings.Join(nodes, ","))
		if cmd.Flags().Changed("abs-conn-threshold") {
			p.Set("abs_conn_threshold", fmt.Sprint(abs))
		}
		if cmd.Flags().Changed("rel-conn-threshold") {
			p.Set("rel_conn_threshold", fmt.Sprint(rel))
		}
		x := change{method: http.MethodPost, feature: featureEvacuations, path: admin.Path("rebalance", "start"), params: p}
		if !f.wait || c.dryRun {
			return c.change(cmd, x)
		}
		began, err := c.changed(cmd, x)
		if err != nil || began == nil {
			return err
		}
		return c.watchRebalance(cmd, f.timeout)
	}))
	f.add(cmd)
	cmd.Flags().StringSliceVar(&nodes, "nodes", nil, "only these `nodes` (default: all that take devices)")
	cmd.Flags().IntVar(&abs, "abs-conn-threshold", 0, "nothing is done below this difference of the means (default 1000)")
	cmd.Flags().Float64Var(&rel, "rel-conn-threshold", 0, "nothing is done below this ratio of the means (default 1.1)")
	return cmd
}

func (c *ctl) watchRebalance(cmd *cobra.Command, limit time.Duration) error {
	end, shown := time.Now().Add(limit), ""
	var last error
	for time.Now().Before(end) {
		b, err := look[admin.Rebalance](c, cmd, featureEvacuations, admin.Path("rebalance"))
		if last = err; err == nil {
			line := b.State + ":"
			for _, n := range b.Nodes {
				line += fmt.Sprintf(" %s %d", n.Node, n.Connections)
			}
			if line != shown {
				shown = line
				fmt.Fprintf(cmd.ErrOrStderr(), "%8s  %s, about %s to go\n", admin.FormatDuration(max(0, c.now().Sub(b.Began))), clean(line), admin.FormatDuration(b.LeftSeconds.Duration().Round(time.Second)))
			}
			if b.Ended != nil {
				return c.rebalanced(cmd, &b)
			}
		}
		if err := sleep(cmd.Context(), time.Second); err != nil {
			return err
		}
	}
	return &exitError{exitPartly, errors.Join(fmt.Errorf("it goes on, and was not done within %s; causeway ctl rebalance status", limit), last)}
}

func (c *ctl) rebalanced(cmd *cobra.Command, b *admin.Rebalance) error {
	raw, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := show(c, cmd, raw, c.printRebalance); err != nil {
		return err
	}
	switch b.Outcome {
	case "partly":
		return &exitError{exitMissed, errors.New(b.Detail)}
	case "stopped":
		return &exitError{exitAborted, errors.New("it was stopped: " + b.Detail)}
	}
	return nil
}

func (c *ctl) printRebalance(w io.Writer, b admin.Rebalance) {
	state := b.State + ", since " + ago(c.now(), b.Since)
	if b.Ended != nil {
		state = b.Outcome + ", " + ago(c.now(), *b.Ended) + " ago"
	}
	facts(w, "state", state, "detail", b.Detail, "by", b.By, "began", ago(c.now(), b.Began)+" ago", "expected", admin.FormatDuration(b.ExpectedSeconds.Duration()), "to go", admin.FormatDuration(b.LeftSeconds.Duration()))
	fmt.Fprintln(w)
	t := c.table("NODE", "GIVES", "-HAD", "-KEEPS", "-NOW")
	for _, n := range b.Nodes {
		if n.Donor {
			t.row(n.Node, "yes", n.Has, n.Leave, n.Connections)
		} else {
			t.row(n.Node, "no", "-", "-", n.Connections)
		}
	}
	t.print(w, "no nodes")
}
