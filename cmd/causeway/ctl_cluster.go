package main

import (
	"fmt"
	"io"
	"net/url"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) clusterCommand() *cobra.Command {
	status := leaf("status", "Who leads, who votes, and the one thing wrong", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "cluster", admin.Path("cluster"), nil, c.printCluster)
	})
	return alias("clusters", group("cluster", "The nodes of this region",
		`Every node can be asked; what only the leader of the home can do is passed on to
it. The home never has fewer voters than cluster.voters says: who leaves gives
its vote to another core node that stands by.`,
		`  causeway ctl cluster status
  causeway ctl cluster transfer eu-2
  causeway ctl cluster force-leave eu-3 --dry-run`,
		status,
		c.clusterAct(admin.ClusterJoin, "join ADDRESS", "Contact a node at its gossip address"),
		c.clusterAct(admin.ClusterLeave, "leave NODE", "Take a node that was stopped out of the home, or the vote of one that runs"),
		c.clusterAct(admin.ClusterForceLeave, "force-leave NODE", "Take out a node that is gone for good"),
		c.clusterAct(admin.ClusterTransfer, "transfer [NODE]", "Hand the leadership to a node, or to the one that is furthest")))
}

func (c *ctl) clusterAct(act admin.ClusterAct, use, short string) *cobra.Command {
	return c.changing(leaf(use, short, func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		if len(args) > 0 {
			params.Set("target", args[0])
		}
		return c.change(cmd, change{method: "POST", feature: "cluster", path: admin.Path("cluster", string(act)), params: params})
	}))
}

func (c *ctl) printCluster(w io.Writer, v admin.Cluster) {
	if v.Trouble == "" {
		fmt.Fprintf(w, "home %s is healthy: %d of %d votes are here\n\n", clean(v.Home), v.Quorum.Have, v.Voters)
	} else {
		fmt.Fprintf(w, "home %s: %s\n  %s\n\n", clean(v.Home), clean(v.Trouble), clean(v.Next))
	}
	facts(w, "leader", orDash(v.Leader), "term", fmt.Sprint(v.Term), "follows", v.Following, "applied", fmt.Sprint(v.Applied), "feature level", fmt.Sprint(v.Level),
		"a decision takes", fmt.Sprintf("%d of %d votes", v.Quorum.Need, v.Voters))
	fmt.Fprintln(w)
	t := c.table("NODE", "ROLE", "STATE", "SEEN", "-LAG", "-SESSIONS", "-RUN", "DISK", "VERSION", "ADDRESS")
	for _, n := range v.Nodes {
		seen := "no"
		if n.Alive {
			seen = "yes"
		}
		t.row(n.Node, n.Role, n.State, seen, n.Lag, n.Sessions, n.Incarnation, orDash(n.Disk[:min(8, len(n.Disk))]), orDash(n.Software), orDash(n.Address))
	}
	t.print(w, "this node is its region's only one")
}
