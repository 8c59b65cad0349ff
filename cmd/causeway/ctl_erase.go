package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) eraseCommand() *cobra.Command {
	var ns string
	var retained []string
	client := c.changing(leaf("client ID", "Remove all that the region keeps of a client", func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		setParam(params, "retained", strings.Join(retained, ","))
		x := change{method: http.MethodPost, feature: "erase", path: admin.Path("erase", ns, args[0]), params: params, confirm: args[0]}
		return c.erase(cmd, x)
	}))
	client.Long = `Its session with subscriptions, will and queue, its connection, bans of its client id,
and what nodes remember of its connections. The standby removes the same as it follows
the log. Retained messages go if --retained names their topics: who published them is
not kept. The audit log has a hash of the client id.

What cannot be reached is listed: backups, what peers have taken, the queues of others.
Exit code 6: a node did not answer and may remember it; do it again.`
	client.Example = "  causeway ctl erase client car-7 --dry-run\n  causeway ctl erase client car-7 --namespace cars --retained 'car/7/#' --yes"
	namespaceFlag(client, &ns, defaultNamespace, "namespace of the client")
	client.Flags().StringArrayVar(&retained, "retained", nil, "also retained messages of its namespace that this topic `filter` matches; may be repeated")
	return group("erase", "Remove what is kept of somebody", "", "", client)
}

// erase shows what goes, asks, does it, and says what remains.
func (c *ctl) erase(cmd *cobra.Command, x change) error {
	if c.dryRun {
		x.params.Set("dry_run", "true")
		b, err := c.call(cmd, x.method, x.feature, x.path, x.params, nil)
		if err != nil {
			return err
		}
		return show(c, cmd, b, printErased)
	}
	b, err := c.changed(cmd, x)
	if err != nil {
		return err
	}
	if err := show(c, cmd, b, printErased); err != nil {
		return err
	}
	var e admin.Erased
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("the answer of the node is not understood: %w", err)
	}
	if len(e.Unanswered) > 0 {
		return &exitError{exitPartly, fmt.Errorf("%d nodes did not answer and may remember the client: do it again when they are back, or they forget it with a restart", len(e.Unanswered))}
	}
	return nil
}

func printErased(w io.Writer, e admin.Erased) {
	printChange(w, admin.Change{Action: e.Action, Target: e.Target, DryRun: e.DryRun, Effects: e.Effects})
	fmt.Fprintln(w, "copies remain, or may:")
	for _, x := range e.Remains {
		fmt.Fprintf(w, "  %s\n", clean(x))
	}
	printUnanswered(w, e.Unanswered)
}
