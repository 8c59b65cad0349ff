package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) reconcileCommand() *cobra.Command {
	show := leaf("show HOME", "What a copy that was set aside has more than the home's host; nothing is sent", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, featureRegions, admin.Path("homes", args[0], "divergence"), nil, c.printDivergence)
	})
	discard := c.changing(leaf("discard HOME", "Give up what the copy that was set aside has more; it cannot be had back", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: featureRegions, path: admin.Path("homes", args[0], "discard"),
			body: admin.ConfirmRequest{Confirm: args[0]}, confirm: args[0]})
	}))
	return group("reconcile", "What a region did alone before it was fenced",
		`A region that comes back after another one took its home over holds what it
acknowledged and did not ship, and what it did while it could not be seen. Its copy
is set aside and read only: look at it, then let it go to the home's host, message
by message as the ack rules say (replay, max_replay_age), or give it up. To be run
in the region that came back.`,
		`  causeway ctl --context eu reconcile show eu
  causeway ctl --context eu reconcile approve eu --replay report
  causeway ctl --context eu reconcile discard eu --dry-run`,
		show, c.reconcileApprove(), discard)
}

func (c *ctl) reconcileApprove() *cobra.Command {
	var replay, maxAge string
	cmd := c.changing(leaf("approve HOME", "Let what the copy has more go to the home's host", func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		setParam(params, "replay", replay)
		setParam(params, "max_age", maxAge)
		return c.change(cmd, change{method: http.MethodPost, feature: featureRegions, path: admin.Path("homes", args[0], "reconcile"), params: params,
			body: admin.ConfirmRequest{Confirm: args[0]}, confirm: args[0]})
	}))
	cmd.Flags().StringVar(&replay, "replay", "", "`deliver` or report: what becomes of messages, whatever the ack rules say")
	cmd.Flags().StringVar(&maxAge, "max-age", "", "messages older than this `time`, such as 1h, are reported only")
	cmd.Long = "Messages arrive late and keep their expiry. What both regions did is joined: a\nsession that was used since keeps its subscriptions, and what the old host had for\nit comes after; wills fire once."
	return cmd
}

func (c *ctl) printDivergence(w io.Writer, d admin.Divergence) {
	oldest := ""
	if d.Oldest != nil {
		oldest = ago(c.now(), *d.Oldest) + " ago"
	}
	facts(w, "home", d.Home, "state", d.State, "copy", fmt.Sprintf("epoch %d@%s", d.Epoch, d.Host), "more", fmt.Sprintf("%d records, %d messages, %s", d.Records, d.Messages, admin.FormatBytes(d.Bytes)),
		"oldest", oldest, "retained", fmt.Sprint(d.Retained), "wills", fmt.Sprint(d.Wills), "by class", counts(d.Classes), "by age", counts(d.Ages), "sessions", counts(d.Sessions), "became", counts(d.Report))
}

func counts(list []admin.DivergenceCount) string {
	var parts []string
	for _, n := range list {
		parts = append(parts, fmt.Sprintf("%d %s", n.Count, n.Name))
	}
	return strings.Join(parts, ", ")
}
