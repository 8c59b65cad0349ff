package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	meshtls "causeway/tls"

	"github.com/spf13/cobra"
)

func newCAShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [FILE|FOLDER]...",
		Short: "Show certificates: whose, by whom, until when; and lists of revoked ones",
		Long: `Shows every certificate and revocation list of the files, or of the *.pem files
in a folder (keys are passed over). Without arguments it shows the authority's.
The fingerprint is what a refused link reports of the authority it saw. Who
signed a list is not checked here; nodes do.`,
		Example: `  causeway ca show
  causeway ca show eu-1/eu-1.pem
  causeway ca show ca/crl.pem
  causeway ca show eu-1 us-1 -o json`,
	}
	dir := caFlag(cmd)
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			args = []string{filepath.Join(*dir, meshtls.CACertFile)}
		}
		shown, err := describeAll(args)
		if err != nil {
			return err
		}
		if output.value == "json" {
			return printJSON(cmd.OutOrStdout(), shown)
		}
		for _, one := range shown {
			switch x := one.(type) {
			case meshtls.Info:
				printInfo(cmd.OutOrStdout(), x)
			case meshtls.ListInfo:
				printListInfo(cmd.OutOrStdout(), x)
			}
		}
		return nil
	}
	return cmd
}

// describeAll describes files, and the certificates and lists in folders.
func describeAll(paths []string) ([]any, error) {
	all := []any{}
	for _, path := range paths {
		files, err := pemFiles(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			shown, err := describeFile(file)
			if err != nil {
				return nil, err
			}
			all = append(all, shown...)
		}
	}
	return all, nil
}

// describeFile describes the certificates of a file, or its lists: a certificate beside those is only there for them.
func describeFile(file string) (all []any, err error) {
	lists, lerr := meshtls.DescribeLists(file)
	if lerr == nil {
		for _, l := range lists {
			all = append(all, l)
		}
		return all, nil
	}
	infos, err := meshtls.Describe(file)
	for _, i := range infos {
		all = append(all, i)
	}
	return all, err
}

// pemFiles is the file itself, or the certificate files of a folder.
func pemFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("show certificate: %w; name a PEM file or a folder of them", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	found, err := filepath.Glob(filepath.Join(path, "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("show certificates of %s: %w", path, err)
	}
	var files []string
	for _, file := range found {
		if !strings.HasSuffix(file, "-key.pem") {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("show certificates: no *.pem in %s; name a file", path)
	}
	return files, nil
}

// printInfo writes one certificate for a reader.
func printInfo(w io.Writer, info meshtls.Info) {
	kind := "certificate"
	if info.Authority {
		kind = "authority"
	}
	fmt.Fprintf(w, "%s: %s\n", info.File, kind)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "  %s\t%s\n", name, value)
		}
	}
	line("identity", info.Identity)
	line("subject", info.Subject)
	line("issuer", info.Issuer)
	line("names", strings.Join(append(info.DNSNames, info.IPs...), ", "))
	line("valid until", fmt.Sprintf("%s (%s)", info.NotAfter.Format(time.RFC3339), daysLeft(info)))
	line("key", info.Algorithm)
	line("serial", info.Serial)
	line("sha256", info.Fingerprint)
	line("key id", info.KeyID)
	tw.Flush()
}

func daysLeft(info meshtls.Info) string {
	switch {
	case time.Now().After(info.NotAfter):
		return "EXPIRED"
	case info.DaysLeft == 1:
		return "1 day left"
	default:
		return fmt.Sprintf("%d days left", info.DaysLeft)
	}
}

// mostShown is how many entries of a list are printed; -o json has all.
const mostShown = 20

// printListInfo writes one revocation list for a reader.
func printListInfo(w io.Writer, l meshtls.ListInfo) {
	fmt.Fprintf(w, "%s: revocation list\n", l.File)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	left := fmt.Sprintf("%d days left", l.DaysLeft)
	if time.Now().After(l.NextUpdate) {
		left = "STALE"
	}
	fmt.Fprintf(tw, "  issuer\t%s\n  number\t%s\n  written\t%s\n", l.Issuer, l.Number, l.ThisUpdate.Format(time.RFC3339))
	if l.NextUpdate.IsZero() {
		fmt.Fprintf(tw, "  in date\tit does not say until when\n")
	} else {
		fmt.Fprintf(tw, "  in date until\t%s (%s)\n", l.NextUpdate.Format(time.RFC3339), left)
	}
	fmt.Fprintf(tw, "  revoked\t%d\n", len(l.Revoked))
	for i, r := range l.Revoked {
		if i == mostShown {
			fmt.Fprintf(tw, "  \tand %d more\n", len(l.Revoked)-i)
			break
		}
		fmt.Fprintf(tw, "  \t%s  %s  %s\n", r.Serial, r.At.Format(time.RFC3339), r.Reason)
	}
	tw.Flush()
}
