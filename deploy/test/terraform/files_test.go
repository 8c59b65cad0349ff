package terraform

import (
	"fmt"
	"os"
	"path/filepath"
)

// makeFiles makes what a region's module reads (its variable files), for the regions of all roots in one folder each, and for
// core's tests in the folder itself.
func makeFiles(dir string) error {
	for _, region := range []string{"eu", "us", "ap", "w1"} {
		if err := regionFiles(filepath.Join(dir, region), region); err != nil {
			return err
		}
	}
	return regionFiles(dir, "eu")
}

// regionFiles writes stand-ins: terraform reads and does not understand them.
func regionFiles(dir, region string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names := []string{"ca.pem", "gossip.key", "device.pem", "device-key.pem", "devices-ca.pem", "users"}
	for _, node := range []string{region, region + "-1", region + "-2", region + "-3"} {
		names = append(names, node+".pem", node+"-key.pem")
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "%s of %s\n", name, region), 0o600); err != nil {
			return err
		}
	}
	return nil
}
