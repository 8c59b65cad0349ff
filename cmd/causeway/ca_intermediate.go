package main

import (
	"errors"
	"fmt"
	"path/filepath"

	meshtls "causeway/tls"

	"github.com/spf13/cobra"
)

func newCAIntermediate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "intermediate",
		Short: "Make the authority of one region under the mesh's",
		Long: `Makes an authority that issues for one region only, so that the key of the root
can stay offline. Nodes go on trusting the root alone; a certificate that the
authority of another region issued is refused. Issue with --ca and the folder
that is written here (ca.pem and ca-key.pem).`,
		Example: `  causeway ca intermediate --ca root --region eu --out eu-ca
  causeway ca issue --ca eu-ca --region eu --node eu-1 --out eu`,
		Args: cobra.NoArgs,
	}
	dir := caFlag(cmd)
	region := cmd.Flags().String("region", "", "`region` it issues for (required)")
	outDir := cmd.Flags().String("out", "", "`folder` to write to (required)")
	validity := span(meshtls.DefaultIntermediateValidity)
	cmd.Flags().Var(&validity, "validity", "how long the authority lives")
	force := cmd.Flags().Bool("force", false, "overwrite an authority that is there")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *region == "" || *outDir == "" {
			return usageError(cmd, errors.New("--region or --out is missing: name the region, and a folder for its authority"))
		}
		if err := intermediate(*dir, *region, validity, *outDir, *force); err != nil {
			return refusedJSON(cmd.OutOrStdout(), output, err)
		}
		infos, err := meshtls.Describe(filepath.Join(*outDir, meshtls.CACertFile))
		if err != nil {
			return err
		}
		if output.value == "json" {
			return printJSON(cmd.OutOrStdout(), infos[0])
		}
		printInfo(cmd.OutOrStdout(), infos[0])
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "Issue certificates with: causeway ca issue --ca %s --region %s --node NODE\n", *outDir, *region)
		return err
	}
	return cmd
}

func intermediate(caDir, region string, validity span, outDir string, force bool) error {
	root, err := meshtls.LoadCA(filepath.Join(caDir, meshtls.CACertFile), filepath.Join(caDir, meshtls.CAKeyFile))
	if err != nil {
		return err
	}
	_, err = meshtls.CreateIntermediate(root, outDir, region, validity.duration(), force)
	return err
}
