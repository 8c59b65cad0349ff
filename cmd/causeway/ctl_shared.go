package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) sharedCommand() *cobra.Command {
	var limit int
	list := leaf("list", "The shared subscriptions, those for which most waits first", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{"limit": {strconv.Itoa(limit)}}
		return get(c, cmd, "shared", admin.Path("shared"), params, func(w io.Writer, p admin.Page[admin.SharedGroup]) {
			c.printShared(w, p.Items)
		})
	})
	list.Flags().IntVar(&limit, "limit", 100, "how many at most")
	show := leaf("show GROUP", "A shared subscription: its scope, and where its members are", func(cmd *cobra.Command, args []string) error {
		params := url.Values{"group": {args[0]}}
		return get(c, cmd, "shared", admin.Path("shared"), params, func(w io.Writer, p admin.Page[admin.SharedGroup]) {
			for i := range p.Items {
				c.printSharedGroup(w, &p.Items[i])
			}
			if len(p.Items) == 0 {
				fmt.Fprintf(w, "no shared subscription %s\n", clean(args[0]))
			}
		})
	})
	return group("shared", "Shared subscriptions", "", "", list, show)
}

func (c *ctl) printShared(w io.Writer, items []admin.SharedGroup) {
	t := c.table("NAMESPACE", "GROUP", "FILTER", "SCOPE", "-MEMBERS", "-ATTACHED", "ELSEWHERE", "-LAG", "-BYTES", "-OLDEST", "WHAT IS WRONG")
	for i := range items {
		g := &items[i]
		t.row(g.Namespace, g.Group, orDash(g.Filter), g.Scope, g.Members, g.Attached, orDash(elsewhere(g.Away)), g.LagMessages, admin.FormatBytes(g.LagBytes),
			seconds(g.OldestSeconds, g.LagMessages > 0), orDash(strings.Join(g.Mismatches, "; ")))
	}
	t.print(w, "no shared subscriptions")
}

func (c *ctl) printSharedGroup(w io.Writer, g *admin.SharedGroup) {
	waits := "nothing"
	if g.LagMessages > 0 {
		waits = fmt.Sprintf("%d messages, %s, the oldest for %s", g.LagMessages, admin.FormatBytes(g.LagBytes), seconds(g.OldestSeconds, true))
	}
	scope := g.Scope
	if len(g.Regions) > 0 {
		scope += ", declared over " + strings.Join(g.Regions, ", ")
	}
	facts(w, "group", g.Group, "namespace", g.Namespace, "filter", g.Filter, "scope", scope, "members here", fmt.Sprintf("%d, %d attached", g.Members, g.Attached),
		"elsewhere", elsewhere(g.Away), "waits here", waits, "wrong", strings.Join(g.Mismatches, "; "))
	fmt.Fprintln(w)
}

// elsewhere lists regions that have members, the one that is chosen first.
func elsewhere(list []admin.SharedAway) string {
	var parts []string
	for _, a := range list {
		if a.Ready {
			parts = append(parts, a.Region)
		} else {
			parts = append(parts, a.Region+" (nobody attached, or not reached)")
		}
	}
	return strings.Join(parts, ", ")
}
