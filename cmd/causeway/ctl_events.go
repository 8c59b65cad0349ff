package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) eventsCommand() *cobra.Command {
	var follow bool
	cmd := leaf("events", "What happened to the node and its region, and what happens", func(cmd *cobra.Command, _ []string) error {
		if !follow {
			return get(c, cmd, "events", admin.Path("events"), nil, func(w io.Writer, page admin.Page[admin.Event]) {
				for _, e := range page.Items {
					printEvent(w, e)
				}
			})
		}
		return c.followEvents(cmd)
	})
	cmd.Long = "A node remembers the last few hundred events since it started; the audit log has who\ndid what for good. --follow goes on when the node is gone for a while."
	cmd.Example = "  causeway ctl events\n  causeway ctl events --follow -o json"
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens, until interrupted")
	return alias("event", cmd)
}

// followEvents prints events until interrupted; a node that restarted counts anew.
func (c *ctl) followEvents(cmd *cobra.Command) error {
	r, tried, err := c.remote(cmd)
	if err != nil {
		return err
	}
	defer r.Close()
	after, heard := uint64(0), false
	for {
		after, err = r.Follow(cmd.Context(), "events", after, func(e admin.Event) {
			heard = true
			if c.output.value == "table" {
				printEvent(cmd.OutOrStdout(), e)
				return
			}
			if b, err := json.Marshal(e); err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
			}
		})
		var p *admin.Problem
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case errors.As(err, &p) || err != nil && !heard:
			return c.failed(cmd, err, tried)
		case err != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), err)
		}
		if sleep(cmd.Context(), time.Second) != nil {
			return nil
		}
	}
}

func printEvent(w io.Writer, e admin.Event) {
	fmt.Fprintf(w, "%s  %-8s %-14s %s\n", e.At.Format("2006-01-02 15:04:05"), clean(e.Kind), clean(e.What), clean(e.Text))
}
