package main

import (
	"errors"
	"fmt"
	"path/filepath"

	meshtls "causeway/tls"

	"github.com/spf13/cobra"
)

func newCAIssue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Issue the certificate of a node",
		Long: `Makes a key and a certificate that names a region and a node, and writes
NODE.pem, NODE-key.pem (readable by its owner only) and ca.pem into --out: what
identity.cert, identity.key and identity.ca of the node file want. Names and
addresses (--dns, --ip) are needed only if the same certificate also serves
devices. Files that are there are not overwritten without --force (exit code 3);
a running node takes up a renewed certificate by itself.`,
		Example: `  causeway ca issue --region eu --node eu-1 --out eu-1
  causeway ca issue --region eu --node eu-1 --dns mqtt.example.com --ip 10.0.1.11 --validity 90d --out eu-1 --force`,
		Args: cobra.NoArgs,
	}
	dir := caFlag(cmd)
	flags := cmd.Flags()
	var id meshtls.Identity
	flags.StringVar(&id.Region, "region", "", "`region` the certificate speaks for (required)")
	flags.StringVar(&id.Node, "node", "", "`node` of that region; without it the certificate is the region's")
	flags.StringSliceVar(&id.DNSNames, "dns", nil, "host `name`, may be repeated")
	flags.IPSliceVar(&id.IPs, "ip", nil, "`address`, may be repeated")
	outDir := flags.String("out", ".", "`folder` to write to")
	validity := span(meshtls.DefaultNodeValidity)
	flags.Var(&validity, "validity", "how long the certificate lives")
	force := flags.Bool("force", false, "overwrite files that are there")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if id.Region == "" {
			return usageError(cmd, errors.New("--region is missing: name the region the certificate speaks for"))
		}
		if err := id.Validate(); err != nil {
			return usageError(cmd, err)
		}
		files, err := issue(*dir, id, validity, *outDir, *force)
		if err != nil {
			return refusedJSON(cmd.OutOrStdout(), output, err)
		}
		return printIssued(cmd, output, files)
	}
	return cmd
}

func issue(caDir string, id meshtls.Identity, validity span, outDir string, force bool) (meshtls.Files, error) {
	ca, err := meshtls.LoadCA(filepath.Join(caDir, meshtls.CACertFile), filepath.Join(caDir, meshtls.CAKeyFile))
	if err != nil {
		return meshtls.Files{}, err
	}
	issued, err := meshtls.Issue(ca, id, validity.duration())
	if err != nil {
		return meshtls.Files{}, err
	}
	name := id.Node
	if name == "" {
		name = id.Region
	}
	return issued.Write(outDir, name, force)
}

func printIssued(cmd *cobra.Command, output *choice, files meshtls.Files) error {
	out := cmd.OutOrStdout()
	infos, err := meshtls.Describe(files.Cert)
	if err != nil {
		return err
	}
	if output.value == "json" {
		return printJSON(out, struct {
			meshtls.Info
			Files meshtls.Files `json:"files"`
		}{infos[0], files})
	}
	printInfo(out, infos[0])
	_, err = fmt.Fprintf(out, "In the node file:\n  identity: { cert: %s, key: %s, ca: %s }\n", files.Cert, files.Key, files.CA)
	return err
}
