package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// gossipKeyBytes makes it AES-256.
const gossipKeyBytes = 32

func newCAGossipKey() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "gossip-key",
		Short: "Make a key that the gossip of a region's nodes is encrypted with",
		Long: `Makes a new random key for cluster.gossip_key. All nodes of a region need the
same one; regions need different ones. Without --out it is printed.`,
		Example: `  causeway ca gossip-key --out gossip.key`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := make([]byte, gossipKeyBytes)
			if _, err := rand.Read(b); err != nil {
				return err
			}
			text := base64.StdEncoding.EncodeToString(b) + "\n"
			if out == "" {
				_, err := fmt.Fprint(cmd.OutOrStdout(), text)
				return err
			}
			// An existing key is in use by somebody: it is not replaced.
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("write the gossip key: %w", err)
			}
			_, werr := f.WriteString(text)
			if cerr := f.Close(); werr == nil {
				werr = cerr
			}
			return werr
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write, readable by its owner only; it must not exist")
	return cmd
}
