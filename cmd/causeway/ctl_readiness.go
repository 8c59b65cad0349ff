package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func (c *ctl) readinessCommand() *cobra.Command {
	var refresh, certificates bool
	cmd := leaf("readiness", "Could the region stand a disaster now? What blocks, why, and what helps", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		if refresh {
			params.Set("refresh", "true")
		}
		b, err := c.call(cmd, http.MethodGet, "readiness", admin.Path("readiness"), params, nil)
		if err != nil {
			return err
		}
		if err := show(c, cmd, b, func(w io.Writer, r admin.Readiness) {
			c.printReadiness(w, r)
			if certificates {
				c.printCertificates(w, r)
				c.printCRLs(w, r)
			}
		}); err != nil {
			return err
		}
		var r admin.Readiness
		if err := understand(b, &r); err != nil {
			return err
		}
		if len(r.Blockers) > 0 {
			return &exitError{exitMissed, fmt.Errorf("not ready: %s", strings.Join(r.Blockers, ", "))}
		}
		return nil
	})
	cmd.Long = `Each check runs all the time at a pace of its own on every node; of each the worst
node is shown. A check that fails is a blocker: do not rely on a failover, and do not
hold a drill, until it is well. Exit code 4 while there is one.`
	cmd.Example = "  causeway ctl readiness\n  causeway ctl readiness --certificates\n  causeway ctl readiness -o json"
	cmd.Flags().BoolVar(&refresh, "refresh", false, "have the checks look again; what is shown is what they found before")
	cmd.Flags().BoolVar(&certificates, "certificates", false, "list the certificates of all nodes, too")
	return cmd
}

func (c *ctl) alarmsCommand() *cobra.Command {
	cmd := leaf("alarms", "All that is wrong in the region, the worst first, each with the next command", func(cmd *cobra.Command, _ []string) error {
		return get(c, cmd, "alarms", admin.Path("alarms"), nil, func(w io.Writer, p admin.AlarmPage) {
			t := c.table("LEVEL", "NODE", "ALARM", "-FOR", "WHAT", "NEXT")
			t.cut = false
			for _, a := range p.Items {
				t.row(a.Level, a.Node, a.Name, ago(c.now(), a.Since), a.Summary, a.Next)
			}
			t.print(w, "nothing is wrong")
		})
	})
	cmd.Long = `Status names one thing, the cause of the others; here are all, of all nodes. A node
that does not answer is one of them. To page on: causeway_alarms{name,level}.`
	return alias("alarm", cmd)
}

func (c *ctl) printReadiness(w io.Writer, r admin.Readiness) {
	verdict := "nothing blocks"
	if len(r.Blockers) > 0 {
		verdict = "blocked by " + strings.Join(r.Blockers, ", ")
	}
	facts(w, "region", r.Region, "score", fmt.Sprintf("%d of 100", r.Score), "verdict", verdict)
	fmt.Fprintln(w)
	t := c.table("CHECK", "STATE", "-FOR", "NODE", "WHAT", "FIX")
	t.cut = false
	for _, i := range r.Items {
		since := "-"
		if i.Since != nil {
			since = ago(c.now(), *i.Since)
		}
		t.row(i.Check, i.State, since, i.Node, i.Reason, orDash(i.Fix))
	}
	t.print(w, "this node has no checks")
	printUnanswered(w, r.Unanswered)
}

func (c *ctl) printCertificates(w io.Writer, r admin.Readiness) {
	fmt.Fprintln(w)
	t := c.table("NODE", "CERTIFICATE", "-DAYS LEFT", "UNTIL")
	for _, f := range r.Facts {
		for _, x := range f.Certificates {
			t.row(f.Node, x.Name, x.DaysLeft, x.NotAfter.Format("2006-01-02"))
		}
	}
	t.print(w, "no node uses a certificate")
}

func (c *ctl) printCRLs(w io.Writer, r admin.Readiness) {
	if !slices.ContainsFunc(r.Facts, func(f admin.ReadinessFacts) bool { return len(f.CRLs) > 0 }) {
		return
	}
	fmt.Fprintln(w)
	t := c.table("NODE", "REVOCATION LIST", "AUTHORITY", "STATE", "-NUMBER", "-REVOKED", "UNTIL")
	for _, f := range r.Facts {
		for _, x := range f.CRLs {
			until := "-"
			if x.NextUpdate != nil {
				until = x.NextUpdate.Format("2006-01-02 15:04")
			}
			t.row(f.Node, x.Use, cmp.Or(x.Issuer, x.Source), x.State, orDash(x.Number), x.Revoked, until)
		}
	}
	t.print(w, "")
}
