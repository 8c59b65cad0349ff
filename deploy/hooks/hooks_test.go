// Package hooks has programs that nodes run, and this test of them.
package hooks

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The hook asks rclone for the right thing in each cloud, and says 3 for what is not there. rclone is a stand-in that
// writes down how it was called: what it does with a bucket is its own to test.
func TestBackupHook(t *testing.T) {
	dir := t.TempDir()
	called := filepath.Join(dir, "called")
	fake := "#!/bin/sh\necho \"$*\" >'" + called + "'\ncase \"$*\" in *gone*) exit 4 ;; *broken*) exit 1 ;; *lsf*) echo eu-1/part-00001; echo eu-1/MANIFEST.json ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "rclone"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		call, asks, says string
		code             int
	}{
		"put to S3":       {`{"call":"put","to":"s3://b/eu","name":"eu-1/part-00001","file":"/tmp/x y"}`, "copyto --no-traverse /tmp/x y :s3,provider=AWS,env_auth=true,no_check_bucket=true:b/eu/eu-1/part-00001", "", 0},
		"get from Google": {`{"call":"get","to":"gs://b/eu","name":"eu-1/MANIFEST.json","file":"/tmp/x"}`, "copyto --no-traverse :gcs,env_auth=true,bucket_policy_only=true:b/eu/eu-1/MANIFEST.json /tmp/x", "", 0},
		"list in Azure":   {`{"call":"list","to":"azblob://acc/backup/eu","name":"","file":""}`, "lsf --recursive --files-only :azureblob,account=acc,use_msi=true:backup/eu", "eu-1/part-00001\neu-1/MANIFEST.json", 0},
		"remove":          {`{"call":"remove","to":"s3://b/eu","name":"eu-1","file":""}`, "purge :s3,provider=AWS,env_auth=true,no_check_bucket=true:b/eu/eu-1", "", 0},
		"not there":       {`{"call":"get","to":"s3://b","name":"gone/part","file":"/tmp/x"}`, "gone/part", "", 3},
		"it fails":        {`{"call":"get","to":"s3://b","name":"broken/part","file":"/tmp/x"}`, "broken/part", "", 1},
		"another place":   {`{"call":"put","to":"ftp://b","name":"x","file":"/x"}`, "", "no place of this hook", 1},
		"options":         {`{"call":"list","to":"azblob://acc,endpoint=x.example/b","name":"","file":""}`, "", "no place of this hook", 1},
		"another call":    {`{"call":"sing","to":"s3://b","name":"x","file":"/x"}`, "", "not known", 1},
	} {
		_ = os.Remove(called)
		cmd := exec.Command("./backup")
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		cmd.Stdin = strings.NewReader(c.call + "\n")
		out, err := cmd.CombinedOutput()
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		asked, _ := os.ReadFile(called)
		if code != c.code || !strings.Contains(string(asked), c.asks) || (c.asks == "") != (len(asked) == 0) || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: exit code %d, asked %q, says %q", name, code, asked, out)
		}
	}
}
