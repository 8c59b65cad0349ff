package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureAdmission = "admission"

func (c *ctl) admissionCommand() *cobra.Command {
	return group("admission", "How many connections the nodes let in a second",
		`While a fleet comes back each node lets connections in at a pace, before TLS and by
turns between namespaces; devices that are connected are not slowed. A promotion
sets that by itself (takeover.admission). Here an operator does, for a time or
until it is taken back. Rates of listeners hold beside it.`,
		`  causeway ctl admission show
  causeway ctl admission set --rate 2000/s --for 30m --reason storm
  causeway ctl admission set --off`,
		leaf("show", "The rate that is set, who waits at the node, and what the beginnings of connections are made of", func(cmd *cobra.Command, _ []string) error {
			return get(c, cmd, featureAdmission, admin.Path("admission"), nil, c.printAdmission)
		}),
		c.admissionSet())
}

func (c *ctl) admissionSet() *cobra.Command {
	rate, off, howLong, reason := perSecond(0), false, "", ""
	cmd := c.changing(leaf("set", "Let in so many a second at each node, or as they come", func(cmd *cobra.Command, _ []string) error {
		if off == cmd.Flags().Changed("rate") {
			return usageError(cmd, errors.New("give --rate or --off"))
		}
		p := url.Values{}
		if off {
			p.Set("off", "true")
		} else {
			p.Set("per_second", fmt.Sprint(int(rate)))
		}
		setParam(p, "for", howLong)
		setParam(p, "reason", reason)
		return c.change(cmd, change{method: http.MethodPost, feature: featureAdmission, path: admin.Path("admission"), params: p})
	}))
	perSecondFlag(cmd, &rate, "rate", "connections a second, each node, as 2000/s")
	cmd.Flags().BoolVar(&off, "off", false, "let them in as they come")
	cmd.Flags().StringVar(&howLong, "for", "", "for how long, as 30m (default: until it is taken back)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for others to read")
	return cmd
}

func (c *ctl) printAdmission(w io.Writer, r admin.AdmissionReport) {
	c.printAdmissionRule(w, r.Rule)
	if line := admissionLine(r.Queue); line != "" {
		facts(w, "queue of "+r.Node, line)
		t := c.table("NAMESPACE", "-WAITING")
		for _, n := range r.Queue.Namespaces {
			t.row(n.Namespace, n.Count)
		}
		t.print(w, "")
	}
	t := c.table("STAGE", "-CONNECTIONS", "-MEAN", "-SHARE")
	for _, s := range r.Stages {
		t.row(s.Stage, s.Connections, admin.FormatDuration(time.Duration(s.MeanSeconds*float64(time.Second))), fmt.Sprintf("%.0f%%", 100*s.Share))
	}
	t.print(w, "no connections began in the last minute")
}

func (c *ctl) printAdmissionRule(w io.Writer, r admin.AdmissionRule) {
	if r.PerSecond == 0 {
		fmt.Fprintln(w, "no rate is set: connections come in as they come, but for rates of listeners and the pace of a promotion")
		return
	}
	left := "until it is taken back"
	if r.Until != nil {
		left = "for another " + until(c.now(), r.Until)
	}
	facts(w, "rate", fmt.Sprintf("%d a second at each node, %s", r.PerSecond, left), "by", r.By, "reason", r.Reason)
}
