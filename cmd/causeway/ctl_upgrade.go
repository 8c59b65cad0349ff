package main

import (
	"io"
	"net/http"
	"net/url"
	"strconv"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureUpgrade = "upgrade"

func (c *ctl) upgradeCommand() *cobra.Command {
	var to string
	ask := func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "to", to)
		b, err := c.call(cmd, http.MethodGet, featureUpgrade, admin.Path("upgrade"), params, nil)
		if err != nil {
			return err
		}
		return show(c, cmd, b, c.printUpgrade)
	}
	plan := leaf("plan", "Who is upgraded in which order, who is next, and what is in the way", ask)
	plan.Flags().StringVar(&to, "to", "", "`version` that it goes to, as causeway version prints it")
	status := leaf("status", "What runs where, and whether the upgrade may be finalized", ask)
	finalize := c.changing(leaf("finalize", "Let homes use what only the new version knows; nobody can go back after it", func(cmd *cobra.Command, _ []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: featureUpgrade, path: admin.Path("upgrade")})
	}))
	return alias("upgrades", group("upgrade", "Move a region to another version, node by node",
		`Nodes of two versions run together: what an older one could not read is not written
before finalize. Until then every node may go back to the version it had. Standby
regions go first, then nodes that follow, the leader last; one at a time, each once
all votes are back.`,
		`  causeway ctl upgrade plan --to v0.6.0
  causeway ctl upgrade status
  causeway ctl upgrade finalize --dry-run`,
		plan, status, finalize))
}

func (c *ctl) printUpgrade(w io.Writer, u admin.Upgrade) {
	t := c.table("STEP", "KIND", "NAME", "ROLE", "VERSION", "-LEVEL", "DONE", "NOTE")
	for i, x := range u.Steps {
		done := "-"
		if u.To != "" {
			done = yesNo(x.Done)
		}
		t.row(i+1, x.Kind, x.Name, x.Role, orDash(x.Version), x.Supports, done, orDash(x.Reason))
	}
	t.print(w, "no nodes")
	facts(w, "homes at feature level", itoa(u.Level), "all support", itoa(u.Supports), "state", u.State, "next", u.Next)
	for _, r := range u.Refused {
		facts(w, "in the way", r.Reason, "fix", r.Fix)
	}
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
