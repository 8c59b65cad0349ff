package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

// part is a file of the bundle and where it comes from.
type part struct{ file, feature, path string }

// doctorParts are asked for whatever the node is; those of each peer follow.
var doctorParts = []part{
	{"version.json", "", admin.Path("version")},
	{"status.json", "status", admin.Path("status")},
	{"nodes.json", "nodes", admin.Path("nodes")},
	{"services.json", "services", admin.Path("services")},
	{"config.json", "config", admin.Path("config")},
	{"cluster.json", "cluster", admin.Path("cluster")},
	{"links.json", "links", admin.Path("links")},
	{"shared.json", "shared", admin.Path("shared")},
	{"audit-verify.json", "audit", admin.Path("audit", "verify")},
	{"audit.log", "audit", admin.AuditPath},
	{"metrics.txt", "", "/metrics"},
	{"goroutines.txt", "profile", admin.ProfilePath("goroutine")},
	{"heap.pprof", "profile", admin.ProfilePath("heap")},
	{"mutex.pprof", "profile", admin.ProfilePath("mutex")},
}

// doctorReport is what a bundle holds.
type doctorReport struct {
	File    string          `json:"file"`
	Bytes   int64           `json:"bytes"`
	Parts   []string        `json:"parts"`
	Missing []doctorMissing `json:"missing"`
}

type doctorMissing struct {
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

func (c *ctl) doctorCommand() *cobra.Command {
	var file string
	cmd := leaf("doctor", "Collect what a node says of itself, for who helps", func(cmd *cobra.Command, _ []string) error { return c.doctor(cmd, file) })
	cmd.Long = `Writes a tar.gz of what a node says of itself: state, parts, configuration with where each
value came from, links, metrics, the audit log, goroutines and memory. No secret is in it:
the configuration names files, not what is in them, and nothing is asked that shows
payloads. Client ids, topics and addresses are in the audit log and in the links.

A part that the node does not answer is missing from the bundle, and named.`
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to write (default causeway-doctor-NODE-TIME.tar.gz); - writes to standard output")
	return cmd
}

func (c *ctl) doctor(cmd *cobra.Command, file string) error {
	r, tried, err := c.remote(cmd)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := r.Call(cmd.Context(), http.MethodGet, "status", admin.Path("status"), nil, nil)
	if err != nil {
		return c.failed(cmd, err, tried)
	}
	var st admin.Status
	if err := understand(b, &st); err != nil {
		return err
	}
	now := c.now().UTC()
	if file == "" {
		file = fmt.Sprintf("causeway-doctor-%s-%s.tar.gz", st.Node, now.Format("20060102T150405Z"))
	}
	var bundle bytes.Buffer
	report, err := collectParts(cmd.Context(), r, &bundle, parts(&st), now)
	if err != nil {
		return err
	}
	report.File, report.Bytes = file, int64(bundle.Len())
	if file == "-" {
		_, err := cmd.OutOrStdout().Write(bundle.Bytes())
		return err
	}
	if err := os.WriteFile(file, bundle.Bytes(), 0o600); err != nil {
		return err
	}
	if b, err = json.Marshal(report); err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	return show(c, cmd, b, printDoctor)
}

func parts(st *admin.Status) []part {
	all := doctorParts
	for i := range st.Links {
		peer := st.Links[i].Peer
		all = append(all[:len(all):len(all)], part{"link-" + peer + ".json", "links", admin.Path("links", peer)},
			part{"link-" + peer + "-policy.json", "link_control", admin.Path("links", peer, "policy")})
	}
	return all
}

// maxPart bounds one file of the bundle, in bytes.
const maxPart = 128 << 20

// collectParts writes the bundle.
func collectParts(ctx context.Context, r *admin.Remote, w io.Writer, parts []part, now time.Time) (rep doctorReport, err error) {
	rep.Missing = []doctorMissing{}
	zipped := gzip.NewWriter(w)
	out := tar.NewWriter(zipped)
	for _, p := range parts {
		content := &bounded{left: maxPart}
		if err := r.Download(ctx, p.feature, p.path, content); err != nil {
			if ctx.Err() != nil {
				return rep, ctx.Err()
			}
			rep.Missing = append(rep.Missing, doctorMissing{p.file, err.Error()})
			continue
		}
		rep.Parts = append(rep.Parts, p.file)
		head := &tar.Header{Name: p.file, Mode: 0o600, Size: int64(content.Len()), ModTime: now, Format: tar.FormatPAX}
		if err := errors.Join(out.WriteHeader(head), copied(out, &content.Buffer)); err != nil {
			return rep, fmt.Errorf("write the bundle: %w", err)
		}
	}
	return rep, errors.Join(out.Close(), zipped.Close())
}

func copied(w io.Writer, b *bytes.Buffer) error {
	_, err := b.WriteTo(w)
	return err
}

// bounded takes no more than there is left.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("it is larger than %s", admin.FormatBytes(maxPart))
	}
	return b.Buffer.Write(p)
}

func printDoctor(w io.Writer, rep doctorReport) {
	fmt.Fprintf(w, "%s: %d parts, %s\n", clean(rep.File), len(rep.Parts), admin.FormatBytes(rep.Bytes))
	for _, m := range rep.Missing {
		fmt.Fprintf(w, "missing: %s: %s\n", clean(m.Part), clean(m.Reason))
	}
}
