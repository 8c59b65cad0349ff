package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) statusCommand() *cobra.Command {
	var watch, region bool
	cmd := leaf("status", "One page: the state, the one thing wrong, and the next command", func(cmd *cobra.Command, _ []string) error {
		switch {
		case watch && region:
			return watching(c, cmd, "nodes", admin.Path("nodes"), c.printNodes)
		case watch:
			return watching(c, cmd, "status", admin.Path("status"), c.printStatus)
		case region:
			return get(c, cmd, "nodes", admin.Path("nodes"), nil, c.printNodes)
		}
		return get(c, cmd, "status", admin.Path("status"), nil, func(w io.Writer, s admin.Status) {
			c.elsewhere(cmd, &s)
			c.printStatus(w, s)
		})
	})
	cmd.Long = "What the node itself sees, and if nothing is wrong there, what is at another node of its region. All that is\nwrong: causeway ctl alarms."
	cmd.Flags().BoolVarP(&region, "region", "r", false, "a line for each node of the region")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted")
	cmd.Flags().DurationVar(&c.interval, "interval", 2*time.Second, "how often --watch asks")
	return cmd
}

// elsewhere has a page whose own node finds nothing wrong name what another node of the region does:
// the one that leads knows more of them all.
func (c *ctl) elsewhere(cmd *cobra.Command, s *admin.Status) {
	if s.Trouble != nil {
		return
	}
	r, _, err := c.remote(cmd)
	if err != nil {
		return
	}
	defer r.Close()
	b, err := r.Call(cmd.Context(), http.MethodGet, "nodes", admin.Path("nodes"), nil, nil)
	var p admin.NodePage
	if err != nil || understand(b, &p) != nil {
		return // an earlier version, or a node that has nobody to ask; its own page stands
	}
	i := slices.IndexFunc(p.Items, func(n admin.NodeSummary) bool { return n.Trouble != nil && n.Leading })
	if i < 0 {
		i = slices.IndexFunc(p.Items, func(n admin.NodeSummary) bool { return n.Trouble != nil })
	}
	switch {
	case i >= 0:
		s.Trouble = p.Items[i].Trouble
		s.Trouble.Summary = p.Items[i].Node + ": " + s.Trouble.Summary
	case len(p.Unanswered) > 0:
		u := p.Unanswered[0]
		s.Trouble = &admin.Trouble{Summary: fmt.Sprintf("node %s does not answer: %s", u.Node, u.Reason), Since: s.Now, Next: "causeway ctl cluster status"}
	}
}

// watching shows the page until interrupted. A node that does not answer is shown too: it may come
// back, and that is what one watches for.
func watching[T any](c *ctl, cmd *cobra.Command, feature, path string, table func(io.Writer, T)) error {
	if c.interval < 100*time.Millisecond {
		return usageError(cmd, fmt.Errorf("--interval is %s; use 100ms or more", c.interval))
	}
	tick := time.NewTicker(c.interval)
	defer tick.Stop()
	for {
		b, err := c.call(cmd, http.MethodGet, feature, path, nil, nil)
		if cmd.Context().Err() != nil {
			return nil
		}
		out := cmd.OutOrStdout()
		if c.output.value == "table" && c.interactive(out) {
			fmt.Fprint(out, "\x1b[H\x1b[2J")
		}
		var gone *admin.Unreachable
		switch {
		case errors.As(err, &gone):
			fmt.Fprintln(out, err)
		case err != nil:
			return err
		default:
			if err := show(c, cmd, b, table); err != nil {
				return err
			}
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-tick.C:
			if c.output.value == "table" {
				fmt.Fprintln(out)
			}
		}
	}
}

func (c *ctl) printStatus(w io.Writer, s admin.Status) {
	state := s.State.State + " for " + ago(s.Now, s.State.Since)
	if s.State.Reason != "" {
		state += ": " + s.State.Reason
	}
	trouble, next := "none", ""
	if s.Trouble != nil {
		trouble, next = s.Trouble.Summary+" (for "+ago(s.Now, s.Trouble.Since)+")", s.Trouble.Next
	}
	t := s.Totals
	pairs := []string{
		"node", fmt.Sprintf("%s in region %s, %s, up %s", s.Node, s.Region, s.Version, ago(s.Now, s.StartedAt)),
		"state", state, "trouble", trouble, "next", next,
	}
	if p := s.State.Progress; p != nil {
		pairs = append(pairs, "progress", progressLine(p))
	}
	for _, h := range s.Homes {
		pairs = append(pairs, "home", homeLine(h, s.Node))
		for _, b := range h.Standbys {
			pairs = append(pairs, "standby", b.Line())
		}
	}
	pairs = append(pairs,
		"devices", fmt.Sprintf("%d connected; %d sessions, %d attached", t.Connections, t.Sessions, t.SessionsAttached),
		"messages", fmt.Sprintf("%d received, %d sent, %d dropped", t.Received, t.Sent, t.Dropped))
	if line := admissionLine(s.Admission); line != "" {
		pairs = append(pairs, "connecting", line)
	}
	for _, d := range s.Stores {
		pairs = append(pairs, "disk", fmt.Sprintf("%s: %s used, %s free (%s)", d.Name, admin.FormatBytes(d.Bytes), admin.FormatBytes(d.FreeBytes), d.Path))
		pairs = append(pairs, spoolSpace(d)...)
	}
	if len(s.Blockers) > 0 || s.Readiness < 100 {
		ready := fmt.Sprintf("%d of 100", s.Readiness)
		if len(s.Blockers) > 0 {
			ready += ", blocked by " + strings.Join(s.Blockers, ", ")
		}
		pairs = append(pairs, "readiness", ready+"; causeway ctl readiness")
	}
	for _, x := range s.Conditions {
		pairs = append(pairs, x.Level, x.Summary+"; "+x.Next)
	}
	facts(w, pairs...)
	c.printListeners(w, s.Listeners)
	if len(s.Links) > 0 {
		fmt.Fprintln(w)
		c.printLinks(s.Now)(w, s.Links)
	}
	c.printTroubled(w, s)
}

func (c *ctl) printNodes(w io.Writer, p admin.NodePage) {
	t := c.table("NODE", "STATE", "-FOR", "LEADS", "-CONNECTIONS", "-UP", "VERSION", "WHAT IS WRONG")
	for _, n := range p.Items {
		wrong := "-"
		switch {
		case n.Progress != nil:
			wrong = progressLine(n.Progress)
		case n.Trouble != nil:
			wrong = n.Trouble.Summary
		}
		t.row(n.Node, n.State, ago(c.now(), n.Since), yesNo(n.Leading), n.Connections, ago(c.now(), n.StartedAt), n.Version, wrong)
	}
	for _, u := range p.Unanswered {
		t.row(u.Node, "no answer", "-", "-", "-", "-", "-", u.Reason)
	}
	t.print(w, "no nodes")
}

func progressLine(p *admin.Progress) string {
	line := fmt.Sprintf("%d entries behind", p.EntriesBehind)
	switch {
	case p.TotalBytes > 0:
		line = fmt.Sprintf("%s of %s fetched from %s (%d%%); ", admin.FormatBytes(p.FetchedBytes), admin.FormatBytes(p.TotalBytes), p.From,
			p.FetchedBytes*100/p.TotalBytes) + line
	case p.FetchedBytes > 0:
		line = fmt.Sprintf("%s fetched from %s; ", admin.FormatBytes(p.FetchedBytes), p.From) + line
	}
	return line
}

func homeLine(h admin.Home, node string) string {
	leader := "no leader"
	switch {
	case h.Leader == node:
		leader = "led by this node"
	case h.Leader != "":
		leader = "led by " + h.Leader
	}
	role := "here: " + h.Role
	if h.Role == admin.RoleHome {
		role = "served here"
	}
	return fmt.Sprintf("%s at epoch %d, hosted by %s, %s, %s; %d filters, %d retained, %d queued (%s)",
		h.ID, h.Epoch, h.Host, role, leader, h.Filters, h.Retained, h.Queued, admin.FormatBytes(h.QueuedBytes))
}

// admissionLine says who waits to be let in; "" if nobody does.
func admissionLine(a admin.Admission) string {
	var parts []string
	if a.Waiting > 0 {
		line := fmt.Sprintf("%d wait for their turn", a.Waiting)
		if a.PerSecond > 0 {
			line += fmt.Sprintf(", %.0f a second are let in: %s until all are", a.PerSecond, admin.FormatDuration(time.Duration(a.DrainSeconds*float64(time.Second))))
		}
		parts = append(parts, line)
	}
	if a.Parked > 0 {
		parts = append(parts, fmt.Sprintf("%d wait for the home of their session", a.Parked))
	}
	return strings.Join(parts, "; ")
}

func (c *ctl) printListeners(w io.Writer, listeners []admin.Listener) {
	if len(listeners) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := c.table("LISTENER", "TYPE", "ADDRESS", "NAMESPACE", "STATE", "-CONNECTIONS")
	for _, l := range listeners {
		state := "open"
		if !l.Open {
			state = "closed: " + l.Error
		}
		n := fmt.Sprint(l.Connections)
		if l.MaxConnections > 0 {
			n += fmt.Sprintf(" of %d", l.MaxConnections)
		}
		t.row(l.Name, l.Type, l.Address, l.Namespace, state, n)
	}
	t.print(w, "")
}

// printTroubled lists the services that failed; those that never did are in `ctl services`.
func (c *ctl) printTroubled(w io.Writer, s admin.Status) {
	var troubled []admin.Service
	for _, v := range s.Services {
		if v.Restarts > 0 || v.LastError != "" {
			troubled = append(troubled, v)
		}
	}
	if len(troubled) > 0 {
		fmt.Fprintln(w)
		c.printServices(s.Now)(w, troubled)
	}
}

func (c *ctl) servicesCommand() *cobra.Command {
	cmd := leaf("services", "The parts of the node and their restarts", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "services", admin.Path("services"), nil, func(w io.Writer, p admin.Page[admin.Service]) {
			c.printServices(c.now())(w, p.Items)
		})
	})
	cmd.Aliases = []string{"service"}
	restart := leaf("restart SERVICE", "Start a part that failed now, not after its pause", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: "services", path: admin.Path("services", args[0], "restart")})
	})
	restart.Long = "A part that fails again and again is isolated: it is tried every 30 seconds, and everything else goes on without it.\nAfter its cause was removed this has it tried at once. A part that runs is refused: exit code 3."
	restart.Example = "  causeway ctl services restart shipping --yes"
	cmd.AddCommand(c.changing(restart))
	return cmd
}

func (c *ctl) printServices(now time.Time) func(io.Writer, []admin.Service) {
	return func(w io.Writer, services []admin.Service) {
		t := c.table("SERVICE", "STATE", "-FOR", "-RESTARTS", "-PANICS", "LAST ERROR")
		for _, s := range services {
			last := "-"
			if s.LastErrorAt != nil {
				last = ago(now, *s.LastErrorAt) + " ago: " + s.LastError
			}
			t.row(s.Name, s.State, ago(now, s.Since), s.Restarts, s.Panics, last)
		}
		t.print(w, "no services")
	}
}

func (c *ctl) versionCommand() *cobra.Command {
	return leaf("version", "The version of the node and what it offers", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "", admin.Path("version"), nil, func(w io.Writer, v admin.Version) {
			facts(w, "version", v.Version, "revision", v.Revision, "go", v.Go, "api", v.API, "features", strings.Join(v.Features, ", "))
		})
	})
}

func (c *ctl) configCommand() *cobra.Command {
	return group("config", "What the node runs with", "", "",
		leaf("show", "Every key, its value and where it came from", func(cmd *cobra.Command, _ []string) error {
			return get(c, cmd, "config", admin.Path("config"), nil, func(w io.Writer, p admin.Page[admin.ConfigValue]) {
				t := c.table("KEY", "VALUE", "SOURCE")
				for _, v := range p.Items {
					t.row(v.Key, v.Value, v.Source)
				}
				t.print(w, "no keys")
			})
		}), c.reloadCommand())
}

func (c *ctl) reloadCommand() *cobra.Command {
	cmd := leaf("reload", "Read the node file again and take over what can change", func(cmd *cobra.Command, _ []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: "config", path: admin.Path("config", "reload")})
	})
	cmd.Long = "The same as SIGHUP (systemctl reload). With --dry-run it says what would change. A file with a key that only a\nnew start can change is refused whole, with the reason: exit code 3."
	cmd.Example = "  causeway ctl config reload --dry-run\n  causeway ctl config reload --yes"
	return c.changing(cmd)
}

func (c *ctl) tokensCommand() *cobra.Command {
	create := leaf("new NAME ROLE", "Make a token and the line that admits it", func(cmd *cobra.Command, args []string) error {
		role, err := admin.ParseRole(args[1])
		if err != nil {
			return usageError(cmd, err)
		}
		token, line, err := admin.NewToken(args[0], role)
		if err != nil {
			return usageError(cmd, err)
		}
		if c.output.value != "table" {
			b, err := json.Marshal(map[string]string{"name": args[0], "role": args[1], "token": token, "line": line})
			if err != nil {
				return err
			}
			return c.encode(cmd.OutOrStdout(), b)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Add this line to the file admin.tokens names on each node; the node reads it without a restart:\n\n  %s\n\n"+
			"Give the token below to its owner; it is shown once. ctl takes it from a file of mode 0600 with --token-file.\n\n", line)
		fmt.Fprintln(cmd.OutOrStdout(), token)
		return nil
	})
	create.Long = "Make a token for --server. ROLE is viewer, operator or admin. No node is asked: the token is random, and only its\nhash goes into the node's token file."
	return alias("token", group("tokens", "Tokens for the API over TCP", "", "", append(c.regionTokens(), create)...))
}
