package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

// sessionsExport is `sessions export`.
func (c *ctl) sessionsExport() *cobra.Command {
	var namespace, prefix, home, after string
	cmd := leaf("export", "Print sessions with their subscriptions, a line of JSON each, to take them elsewhere", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "namespace", namespace)
		setParam(params, "prefix", prefix)
		setParam(params, "home", home)
		return c.exportLines(cmd, "sessions", admin.Path("sessions", "export"), params, after)
	})
	cmd.Long = `One page of sessions is in memory at a time, here and at the node. Sessions that begin
or end meanwhile may be there or not; each is there once. What waits for a session is
counted and not printed: causeway ctl sessions queue.

When it breaks off it says where to go on: --after.`
	cmd.Example = "  causeway ctl sessions export --namespace cars"
	namespaceFlag(cmd, &namespace, "", "only this namespace")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only client ids that begin so")
	cmd.Flags().StringVar(&home, "home", "", "only those of this home; without it, of all that the region serves")
	cmd.Flags().StringVar(&after, "after", "", "go on after this place, as an export that broke off named it")
	outputFlag(cmd, "ndjson") // the one form there is, for who types it
	return cmd
}

// exportLines prints what comes in pages, a line of JSON each.
func (c *ctl) exportLines(cmd *cobra.Command, feature, path string, params url.Values, after string) error {
	broken := func(err error) error {
		if after != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "go on with --after %s\n", after)
		}
		return err
	}
	params.Set("limit", fmt.Sprint(pageSize))
	for {
		setParam(params, "after", after)
		b, err := c.call(cmd, http.MethodGet, feature, path, params, nil)
		if err != nil {
			return broken(err)
		}
		var page admin.Page[json.RawMessage]
		if err := json.Unmarshal(b, &page); err != nil {
			return broken(fmt.Errorf("the answer of the node is not understood: %w", err))
		}
		for _, s := range page.Items {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", s); err != nil {
				return broken(err)
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}
