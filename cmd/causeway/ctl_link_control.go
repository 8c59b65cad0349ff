package main

import (
	"cmp"
	"context"
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
	"github.com/spf13/pflag"
)

// linkControl are the commands that change what crosses a link, or look at what waits.
func (c *ctl) linkControl() []*cobra.Command {
	return []*cobra.Command{c.linkPolicy(), c.linkPause(), c.linkResume(), c.linkDrain(), c.linkSpool()}
}

const featureLinkControl = "link_control"

// policyFlags are the keys of a policy that a flag sets, named as in the node file.
var policyFlags = []struct {
	key, usage string
	list       bool
}{
	{"in", "`filter` of what is taken, as the peer names topics; may be repeated", true},
	{"out", "`filter` of what is sent; may be repeated", true},
	{"never", "`filter` of what crosses in neither direction; may be repeated", true},
	{"in_prefix", "`prefix` before the topics of what comes in, such as eu/", false},
	{"qos_max", "1 or 2: the `QoS` at which messages go out at most", false},
	{"rate", "`bandwidth` of what is sent, such as 200Mbit/s; 0 is no bound", false},
	{"retained", "`true` or false: whether retained messages cross whether wanted or not", false},
	{"spool.bytes", "`size` of the spool", false},
	{"spool.age", "`age` that a spooled message may reach", false},
	{"spool.at_limit", "`drop-oldest` or refuse: what happens when the spool is full", false},
}

func flagOf(key string) string { return strings.NewReplacer("_", "-", ".", "-").Replace(key) }

func (c *ctl) linkPolicy() *cobra.Command {
	cmd := c.changing(leaf("policy PEER", "What may cross a link; with flags, set it for the whole region", func(cmd *cobra.Command, args []string) error {
		path := admin.Path("links", args[0], "policy")
		edit := policyEdit(cmd.Flags())
		if len(edit.Set)+len(edit.Reset) == 0 {
			return get(c, cmd, featureLinkControl, path, nil, c.printPolicy)
		}
		return c.change(cmd, change{method: http.MethodPost, feature: featureLinkControl, path: path, body: edit})
	}))
	for _, f := range policyFlags {
		if f.list {
			cmd.Flags().StringArray(flagOf(f.key), nil, f.usage)
		} else {
			cmd.Flags().String(flagOf(f.key), "", f.usage)
		}
	}
	cmd.Flags().StringArray("reset", nil, "`key` to take from the node file again, or all; may be repeated")
	cmd.Long = `Shows what may cross the link and where each key comes from: the node file of the
node that leads, or what was set here for the whole region, which is kept through
restarts and changes of the leader and stays when a node file changes. A change
holds at once on every node; what is spooled and must not go any more is not sent,
and is counted.`
	cmd.Example = `  causeway ctl link policy us
  causeway ctl link policy us --rate 200Mbit/s --never 'pii/#' --dry-run
  causeway ctl link policy us --reset rate`
	return cmd
}

// policyEdit is what the flags say.
func policyEdit(flags *pflag.FlagSet) admin.PolicyEdit {
	edit := admin.PolicyEdit{Set: []admin.PolicySetting{}, Reset: []string{}}
	for _, f := range policyFlags {
		flag := flags.Lookup(flagOf(f.key))
		if !flag.Changed {
			continue
		}
		value := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			value = notEmpty(list.GetSlice())
		}
		edit.Set = append(edit.Set, admin.PolicySetting{Key: f.key, Value: value})
	}
	if reset, ok := flags.Lookup("reset").Value.(pflag.SliceValue); ok {
		edit.Reset = append(edit.Reset, reset.GetSlice()...)
	}
	return edit
}

// notEmpty drops empty texts: --never "" is a list of none.
func notEmpty(list []string) []string {
	out := []string{}
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (c *ctl) printPolicy(w io.Writer, p admin.LinkPolicy) {
	facts(w, "peer", p.Peer, "revision", fmt.Sprint(p.Revision), "paused", c.pauseLine(p.Pause), "trims under way", trimLine(p.Trims))
	fmt.Fprintln(w)
	t := c.table("KEY", "ORIGIN", "NODE FILE", "VALUE")
	for _, k := range p.Keys {
		file := "-"
		if k.Origin == admin.OriginRegion {
			file = orDash(strings.Join(k.File, " "))
		}
		t.row(k.Key, k.Origin, file, orDash(strings.Join(k.Value, " ")))
	}
	t.print(w, "")
}

func (c *ctl) pauseLine(p *admin.LinkPause) string {
	if p == nil {
		return ""
	}
	line := "for " + ago(c.now(), p.Since)
	if p.Until != nil {
		line += ", goes on in " + until(c.now(), p.Until)
	}
	if p.Reason != "" {
		line += ": " + p.Reason
	}
	return line
}

func trimLine(list []admin.SpoolTrim) string {
	var parts []string
	for _, t := range list {
		parts = append(parts, fmt.Sprintf("%s in class %s up to %d", t.Filter, orDash(t.Class), t.ToSeq))
	}
	return strings.Join(parts, ", ")
}

func (c *ctl) linkPause() *cobra.Command {
	var d, reason string
	cmd := c.changing(leaf("pause PEER", "Let nothing cross a link, in either direction, until it is resumed", func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		setParam(params, "reason", reason)
		setParam(params, "for", d)
		return c.change(cmd, change{method: http.MethodPost, feature: featureLinkControl, path: admin.Path("links", args[0], "pause"), params: params})
	}))
	cmd.Flags().StringVar(&d, "for", "", "go on by itself after this `time`, such as 30m or 2d")
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for who looks at the status")
	cmd.Long = `Nothing is sent and nothing is taken. The tunnel stays up and each side goes on
telling what it wants, so that the link goes on at once; both spools grow. The
pause is kept through restarts and changes of the leader.`
	return cmd
}

func (c *ctl) linkResume() *cobra.Command {
	return c.changing(leaf("resume PEER", "Let a paused link go on", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: featureLinkControl, path: admin.Path("links", args[0], "resume")})
	}))
}

func (c *ctl) linkSpool() *cobra.Command {
	var depth int
	cmd := leaf("spool PEER", "What waits for a peer: classes, time to full, the topics with most of it", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, featureLinkControl, admin.Path("links", args[0], "spool"), url.Values{"depth": {fmt.Sprint(depth)}}, c.printSpool)
	})
	cmd.Flags().IntVar(&depth, "depth", 2, "by how many `levels` topics are told apart")
	cmd.AddCommand(c.spoolTrim())
	return cmd
}

func (c *ctl) spoolTrim() *cobra.Command {
	var filter, class, age string
	var all bool
	cmd := c.changing(leaf("trim PEER", "Drop a part of what waits for a peer; it cannot be had back", func(cmd *cobra.Command, args []string) error {
		if filter == "" && age == "" && !cmd.Flags().Changed("class") && !all {
			return usageError(cmd, errors.New("that would drop everything; name a part by --filter, --older-than or --class, or say --all"))
		}
		params := url.Values{}
		setParam(params, "filter", filter)
		if cmd.Flags().Changed("class") {
			params.Set("class", class)
		}
		setParam(params, "older_than", age)
		return c.change(cmd, change{method: http.MethodPost, feature: featureLinkControl, path: admin.Path("links", args[0], "spool", "trim"),
			params: params, body: admin.ForgetRequest{Confirm: args[0]}, confirm: args[0]})
	}))
	cmd.Flags().StringVar(&filter, "filter", "", "only topics that this topic `filter` matches")
	cmd.Flags().StringVar(&class, "class", "", "only this `class`; \"\" is the one of what no class names")
	cmd.Flags().StringVar(&age, "older-than", "", "only what was spooled this `time` ago or more, such as 48h or 2d")
	cmd.Flags().BoolVar(&all, "all", false, "everything")
	cmd.Long = `What was spooled so far and is meant is dropped and counted. By age and class it
goes at once; a long spool lies in runs, and of those one goes when all of it is so
old. By filter it is left out when the link comes to it, and takes its space until
then.`
	cmd.Example = `  causeway ctl link spool trim us --older-than 48h --dry-run
  causeway ctl link spool trim us --filter 'telemetry/#'`
	return cmd
}

func (c *ctl) printSpool(w io.Writer, s admin.SpoolReport) {
	full := ""
	if s.FullInSeconds > 0 {
		full = ", full in " + seconds(s.FullInSeconds, true)
	}
	facts(w, "peer", s.Peer, "spool", fmt.Sprintf("%d messages, %s of %s (%s%s), %d dropped", s.Messages, admin.FormatBytes(s.Bytes), admin.FormatBytes(s.CapacityBytes),
		percent(s.Bytes, s.CapacityBytes), full, s.Dropped), "trims under way", trimLine(s.Trims))
	fmt.Fprintln(w)
	c.printClasses(w, s.Classes)
	if len(s.Topics) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := c.table("-MESSAGES", "-BYTES", "TOPICS")
	for _, x := range s.Topics {
		t.row(x.Messages, admin.FormatBytes(x.Bytes), x.Filter)
	}
	t.print(w, "")
	if s.Sampled {
		fmt.Fprintf(w, "estimated from %d of %d messages\n", s.LookedAt, s.Messages)
	}
}

// drainEvery is how often a drain is looked at.
const drainEvery = 300 * time.Millisecond

// drained is how a drain ended.
type drained struct {
	admin.LinkDrain
	DrainedMessages int     `json:"drained_messages"`
	ElapsedSeconds  float64 `json:"elapsed_seconds"`
}

func (c *ctl) linkDrain() *cobra.Command {
	var limit time.Duration
	cmd := leaf("drain PEER", "Wait until the peer has everything that is spooled for it now", func(cmd *cobra.Command, args []string) error {
		return c.drain(cmd, args[0], limit)
	})
	cmd.Flags().DurationVar(&limit, "timeout", 0, "give up after this `time`; 0 waits as long as it takes")
	cmd.Long = `What is spooled later is not waited for. Exit codes: 0 the peer has acknowledged
all of it, 3 nothing can get less (the link is down or paused; the next command is
told), 4 the time is over.`
	return cmd
}

func (c *ctl) drain(cmd *cobra.Command, peer string, limit time.Duration) error {
	began := time.Now()
	first, err := c.drainLeft(cmd, peer, 0)
	d := first
	for err == nil && !d.Done && (limit == 0 || time.Since(began) < limit) {
		c.drainProgress(cmd, first, d, time.Since(began))
		if err = sleep(cmd.Context(), drainEvery); err == nil {
			d, err = c.drainLeft(cmd, peer, d.ToSeq)
		}
	}
	c.drainProgress(cmd, first, d, -1)
	if err != nil {
		return err
	}
	end := drained{d, first.Messages - d.Messages, time.Since(began).Seconds()}
	end.Dropped -= first.Dropped
	b, err := json.Marshal(end)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := show(c, cmd, b, printDrained); err != nil || d.Done {
		return err
	}
	return &exitError{exitMissed, fmt.Errorf("not drained within %s: %d messages are left (the link is %s); causeway ctl link show %s", limit, d.Messages, d.State, peer)}
}

func (c *ctl) drainLeft(cmd *cobra.Command, peer string, to uint64) (d admin.LinkDrain, err error) {
	params := url.Values{}
	if to > 0 {
		params.Set("to", fmt.Sprint(to))
	}
	b, err := c.call(cmd, http.MethodGet, featureLinkControl, admin.Path("links", peer, "drain"), params, nil)
	if err != nil {
		return d, err
	}
	if err := understand(b, &d); err != nil {
		return d, err
	}
	return d, nil
}

// drainProgress writes one line over the last one on a terminal; below 0 it wipes it.
func (c *ctl) drainProgress(cmd *cobra.Command, first, d admin.LinkDrain, elapsed time.Duration) {
	if !c.interactive(cmd.ErrOrStderr()) {
		return
	}
	line := ""
	if elapsed >= 0 {
		line = drainLine(first, d, elapsed)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "\r%-70s\r%s", "", line)
}

// drainLine says how far a drain is, at what pace, and when it will be done.
func drainLine(first, d admin.LinkDrain, elapsed time.Duration) string {
	line := fmt.Sprintf("%d messages (%s) left, link %s", d.Messages, admin.FormatBytes(d.Bytes), d.State)
	done := first.Messages - d.Messages
	if done <= 0 || elapsed <= 0 {
		return line
	}
	pace := float64(done) / elapsed.Seconds()
	eta := time.Duration(float64(d.Messages) / pace * float64(time.Second))
	return line + fmt.Sprintf(", %.0f/s, done in %s", pace, admin.FormatDuration(eta))
}

func printDrained(w io.Writer, d drained) {
	verb := "has everything that was spooled for it"
	if !d.Done {
		verb = "does not have everything yet"
	}
	fmt.Fprintf(w, "%s %s: %d messages in %s, %d dropped, %d left\n", clean(d.Peer), verb, d.DrainedMessages,
		admin.FormatDuration(time.Duration(d.ElapsedSeconds*float64(time.Second))), d.Dropped, d.Messages)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// linkState is a link's state, with a pause that another node's link has.
func linkState(l admin.Link) string {
	if l.Pause != nil && l.State != admin.LinkPaused {
		return l.State + ", paused"
	}
	return cmp.Or(l.State, "-")
}
