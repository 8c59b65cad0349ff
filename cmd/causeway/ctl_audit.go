package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"causeway/internal/admin"
	"causeway/internal/audit"

	"github.com/spf13/cobra"
)

func (c *ctl) auditCommand() *cobra.Command {
	var l lister
	list := leaf("list", "What was asked of this node and what came of it, oldest first", func(cmd *cobra.Command, _ []string) error {
		return pages(c, cmd, l, "audit", admin.Path("audit"), url.Values{}, c.printAudit)
	})
	l.flags(list)
	export := leaf("export", "Print the log as the node keeps it, a line a record", func(cmd *cobra.Command, _ []string) error {
		return c.exportAudit(cmd)
	})
	verify := &cobra.Command{Use: "verify [FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Does each record follow from the one before? Of this node, or of a FILE that export wrote",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return c.verifyFile(cmd, args[0])
			}
			b, err := c.call(cmd, http.MethodGet, "audit", admin.Path("audit", "verify"), nil, nil)
			if err != nil {
				return err
			}
			return c.verified(cmd, b)
		}}
	return group("audit", "Who changed what",
		`A node keeps what was asked of its admin API that changes something, or shows the
payloads of devices: who asked, before it is done, and what came of it. Each record has
the hash of the one before, so that a record that was altered or taken out shows. That
the end was cut off shows only to who kept the number and the hash of the newest record.`, "", list, export, verify)
}

func (c *ctl) printAudit(w io.Writer, items []admin.AuditRecord) {
	t := c.table("-N", "TIME", "WHO", "STATE", "-OF", "ACTION", "TARGET", "REASON")
	for i := range items {
		r := &items[i]
		of := ""
		if r.Of > 0 {
			of = fmt.Sprint(r.Of)
		}
		t.row(fmt.Sprint(r.N), r.At.Format(time.RFC3339), cmp.Or(r.Who, "-"), r.State, orDash(of), r.Action, orDash(r.Target), orDash(r.Reason))
	}
	t.print(w, "nothing was asked of this node yet")
}

func (c *ctl) exportAudit(cmd *cobra.Command) error {
	r, tried, err := c.remote(cmd)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Download(cmd.Context(), "audit", admin.AuditPath, cmd.OutOrStdout()); err != nil {
		return c.failed(cmd, err, tried)
	}
	return nil
}

func (c *ctl) verifyFile(cmd *cobra.Command, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	v, err := audit.Verify(f)
	if err != nil && !errors.Is(err, audit.ErrAltered) {
		return err
	}
	b, err := json.Marshal(admin.AuditVerifiedOf(v, err))
	if err != nil {
		return fmt.Errorf("encode what was found: %w", err)
	}
	return c.verified(cmd, b)
}

// verified prints what was found; a log that was altered is an error.
func (c *ctl) verified(cmd *cobra.Command, b json.RawMessage) error {
	if err := show(c, cmd, b, printVerified); err != nil {
		return err
	}
	var v admin.AuditVerified
	if err := understand(b, &v); err != nil {
		return err
	}
	if !v.Intact {
		return errors.New("the audit log is not as it was written")
	}
	return nil
}

func printVerified(w io.Writer, v admin.AuditVerified) {
	state := "intact"
	if !v.Intact {
		state = "ALTERED: " + v.Reason
	}
	at := ""
	if v.LastAt != nil {
		at = v.LastAt.Format(time.RFC3339)
	}
	facts(w, "audit log", state, "records", fmt.Sprintf("%d, numbers %d to %d", v.Records, v.First, v.Last), "newest", at, "its hash", v.Head)
}
