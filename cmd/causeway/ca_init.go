package main

import (
	"fmt"
	"path/filepath"

	meshtls "causeway/tls"

	"github.com/spf13/cobra"
)

func newCAInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the authority of a mesh",
		Long: `Makes the authority whose certificates all nodes of all regions trust, once for
the whole mesh: ca.pem goes to every node, ca-key.pem stays where certificates
are issued. An authority that is there is not overwritten without --force
(exit code 3), since everything it issued would stop being trusted.`,
		Example: `  causeway ca init
  causeway ca init --ca /safe/ca --name "Example fleet" --validity 3650d`,
		Args: cobra.NoArgs,
	}
	dir := caFlag(cmd)
	name := cmd.Flags().String("name", "Causeway CA", "common `name` of the authority")
	validity := span(meshtls.DefaultCAValidity)
	cmd.Flags().Var(&validity, "validity", "how long the authority lives")
	algorithm := choiceFlag(cmd, "algorithm", "", "kind of its key and of the keys it issues", string(meshtls.ECDSA), string(meshtls.Ed25519))
	force := cmd.Flags().Bool("force", false, "overwrite an authority that is there")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := cmd.OutOrStdout()
		_, err := meshtls.CreateCA(*dir, meshtls.CAOptions{Name: *name, Validity: validity.duration(), Algorithm: meshtls.Algorithm(algorithm.value), Force: *force})
		if err != nil {
			return refusedJSON(out, output, err)
		}
		file := filepath.Join(*dir, meshtls.CACertFile)
		infos, err := meshtls.Describe(file)
		if err != nil {
			return err
		}
		if output.value == "json" {
			return printJSON(out, infos[0])
		}
		printInfo(out, infos[0])
		_, err = fmt.Fprintf(out, "Issue certificates with: causeway ca issue --ca %s --region REGION --node NODE\n", *dir)
		return err
	}
	return cmd
}
