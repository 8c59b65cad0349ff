package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const featureRetainedExport = "retained_export"

func (c *ctl) retainedExport() *cobra.Command {
	var namespace, filter, after string
	cmd := leaf("export", "Print retained messages whole, a line of JSON each, to take them elsewhere", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "namespace", namespace)
		setParam(params, "filter", filter)
		return c.exportLines(cmd, featureRetainedExport, admin.Path("retained", "export"), params, after)
	})
	cmd.Long = `Payloads, and what MQTT 5 has beside them, are in base64. It is in the audit log, as
all that shows payloads. When it breaks off it says where to go on: --after.`
	cmd.Example = "  causeway ctl retained export --namespace cars --filter 'fleet/#' > fleet.ndjson"
	namespaceFlag(cmd, &namespace, "", "only this namespace")
	cmd.Flags().StringVar(&filter, "filter", "", "only topics that this topic filter matches")
	cmd.Flags().StringVar(&after, "after", "", "go on after this place, as an export that broke off named it")
	outputFlag(cmd, "ndjson") // the one form there is, for who types it
	return cmd
}

func (c *ctl) retainedImport() *cobra.Command {
	var file, namespace string
	var overwrite bool
	cmd := c.changing(leaf("import", "Take in retained messages that an export printed", func(cmd *cobra.Command, _ []string) error {
		in := cmd.InOrStdin()
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return fmt.Errorf("read the messages: %w", err)
			}
			defer f.Close()
			in = f
		}
		return c.importRetained(cmd, in, namespace, overwrite)
	}))
	cmd.Long = `Each is published as a device would: who subscribes there gets it, and it goes to peers that
want it. What stands under a topic stays, unless --overwrite is given. A file may be
imported again: what is there already is passed over. A line that cannot be read ends it
before anything of its batch is taken in; a message that is refused holds up no other.

Exit codes: 0 all are there, 6 some were refused; the rest is.`
	cmd.Example = "  causeway ctl retained import --file fleet.ndjson --dry-run\n  causeway ctl retained import --file fleet.ndjson --yes"
	cmd.Flags().StringVarP(&file, "file", "f", "", "file of lines of JSON; - reads standard input")
	cmd.Flags().StringVar(&namespace, "into", "", "the namespace they come into (default: that of each line)")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "also where another message stands under the topic")
	_ = cmd.MarkFlagRequired("file") // it was defined three lines above
	return cmd
}

// importBatch is about how many bytes of lines go in one call, and importLines how many lines.
const (
	importBatch = 1 << 20
	importLines = 500
)

// importRetained sends the lines in batches and adds up what became of them.
func (c *ctl) importRetained(cmd *cobra.Command, in io.Reader, namespace string, overwrite bool) error {
	total := admin.RetainedImported{DryRun: c.dryRun, Refused: []string{}}
	if !c.dryRun && !c.yes {
		plan, err := json.Marshal(admin.Change{Action: "import retained messages", DryRun: true, Effects: []string{"they are published, and who subscribes there gets them; --dry-run counts them"}})
		if err != nil {
			return err
		}
		if err := c.ask(cmd, change{path: admin.Path("retained", "import")}, plan); err != nil {
			return err
		}
	}
	params := url.Values{}
	if c.dryRun {
		params.Set("dry_run", "true")
	}
	if overwrite {
		params.Set("overwrite", "true")
	}
	var batch admin.RetainedImport
	size := 0
	send := func() error {
		if len(batch.Items) == 0 {
			return nil
		}
		b, err := c.call(cmd, http.MethodPost, featureRetainedExport, admin.Path("retained", "import"), params, batch)
		if err != nil {
			return err
		}
		var got admin.RetainedImported
		if err := understand(b, &got); err != nil {
			return err
		}
		total.Imported, total.Kept, total.Same, total.Expired = total.Imported+got.Imported, total.Kept+got.Kept, total.Same+got.Same, total.Expired+got.Expired
		total.Refused = append(total.Refused, got.Refused...)
		batch.Items, size = nil, 0
		return nil
	}
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read the messages: %w", err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			d := json.NewDecoder(bytes.NewReader(line))
			d.DisallowUnknownFields()
			var m admin.RetainedMessage
			if e := d.Decode(&m); e != nil {
				return fmt.Errorf("line %d is no message: %w; %d of those before it are taken in", n, e, total.Imported)
			}
			if namespace != "" {
				m.Namespace = namespace
			}
			batch.Items, size = append(batch.Items, m), size+len(line)
		}
		if size >= importBatch || len(batch.Items) == importLines || err == io.EOF {
			if e := send(); e != nil {
				return e
			}
		}
		if err == io.EOF {
			break
		}
	}
	return c.imported(cmd, total)
}

func (c *ctl) imported(cmd *cobra.Command, t admin.RetainedImported) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := show(c, cmd, b, func(w io.Writer, t admin.RetainedImported) {
		verb := "imported"
		if t.DryRun {
			verb = "would be imported"
		}
		fmt.Fprintf(w, "%d %s, %d there already, %d kept as they are, %d expired, %d refused\n", t.Imported, verb, t.Same, t.Kept, t.Expired, len(t.Refused))
		for _, r := range t.Refused {
			fmt.Fprintf(w, "  %s\n", clean(r))
		}
	}); err != nil {
		return err
	}
	if len(t.Refused) > 0 {
		return &exitError{exitPartly, errors.New("some were refused")}
	}
	return nil
}
