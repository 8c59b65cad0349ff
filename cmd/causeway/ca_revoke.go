package main

import (
	"path/filepath"

	meshtls "causeway/tls"

	"github.com/spf13/cobra"
)

func newCARevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke [CERTIFICATE]...",
		Short: "Revoke certificates: write the authority's list anew",
		Long: `Adds the first certificate of each file to the authority's revocation list,
crl.pem beside its ca.pem, and signs it anew under the next number. Without
certificates the list is written as it is, with a later end: before it ends.
It works where the authority's key is; nobody hears of it until the list is
where identity.crl or listeners[].tls.crl of the nodes says. Revoke a region's
authority (its ca.pem) with that of the root, and all that it issued is refused.
Keep crl.pem: a list with a lower number is refused.`,
		Example: `  causeway ca revoke eu-1/eu-1.pem --reason key-compromise
  causeway ca revoke --serial 5f3a09 --ca eu-ca
  causeway ca revoke --validity 30d
  causeway ca show ca/crl.pem`,
	}
	dir := caFlag(cmd)
	var o meshtls.RevokeOptions
	cmd.Flags().StringSliceVar(&o.Serials, "serial", nil, "serial `number` in hex of a certificate that is lost, may be repeated")
	reason := choiceFlag(cmd, "reason", "", "why", meshtls.Reasons()...)
	validity := span(meshtls.DefaultListValidity)
	cmd.Flags().Var(&validity, "validity", "how long the list is in date")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ca, err := meshtls.LoadCA(filepath.Join(*dir, meshtls.CACertFile), filepath.Join(*dir, meshtls.CAKeyFile))
		if err != nil {
			return err
		}
		o.Certs, o.Reason, o.Validity = args, reason.value, validity.duration()
		file, err := ca.Revoke(*dir, o)
		if err != nil {
			return err
		}
		infos, err := meshtls.DescribeLists(file)
		if err != nil {
			return err
		}
		if output.value == "json" {
			return printJSON(cmd.OutOrStdout(), infos[0])
		}
		printListInfo(cmd.OutOrStdout(), infos[0])
		return nil
	}
	return cmd
}
