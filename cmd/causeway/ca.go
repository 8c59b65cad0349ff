package main

import "github.com/spf13/cobra"

// caFolder is where an authority is kept unless --ca says otherwise.
const caFolder = "ca"

func newCA() *cobra.Command {
	return group("ca", "Make and show certificates of nodes and regions",
		`Nodes and regions know each other by certificates of one authority that name
them: causeway://region/eu and causeway://region/eu/node/eu-1. Any PKI that can
write such URI names will do; these commands are a small one. Keep the
authority's key (ca-key.pem) off the nodes.`,
		`  causeway ca init
  causeway ca issue --region eu --node eu-1 --out eu-1
  causeway ca show eu-1/eu-1.pem`,
		newCAInit(), newCAIntermediate(), newCAIssue(), newCARevoke(), newCAShow(), newCAGossipKey())
}

// caFlag is the folder of the authority.
func caFlag(cmd *cobra.Command) *string {
	dir := cmd.Flags().String("ca", caFolder, "`folder` of the authority: ca.pem and ca-key.pem")
	_ = cmd.MarkFlagDirname("ca") // the flag was defined a line above
	return dir
}
