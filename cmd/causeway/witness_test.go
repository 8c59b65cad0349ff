package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A witness's directory is begun once, and one that was not begun is not voted from.
func TestWitness_Init(t *testing.T) {
	dir := t.TempDir()
	file, ca := filepath.Join(dir, "w1.yaml"), filepath.Join(dir, "ca")
	for _, args := range [][]string{{"ca", "init", "--ca", ca}, {"ca", "issue", "--ca", ca, "--region", "w1", "--node", "w1-1", "--out", dir}} {
		if code, _, err := command(t, "", nil, args...); code != 0 {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf("region: w1\ndata_dir: %s/data\nidentity: { cert: %[1]s/w1-1.pem, key: %[1]s/w1-1-key.pem, ca: %[1]s/ca.pem }\n"+
		"link: { listen: \"127.0.0.1:0\" }\nregions: [{ name: eu }, { name: w1, witness: true }]\n", dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "eu.yaml")
	if err := os.WriteFile(node, []byte("region: eu\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want string // in what it prints
	}{
		{"witness", exitUsage, "config"},
		{"witness --config " + node, exitFailed, `regions: has no item "eu" with witness: true`},
		{"witness --config " + file, exitFailed, "causeway witness init"},
		{"witness init --config " + file, exitOK, "start the witness with: causeway witness --config"},
		{"witness init --config " + file, exitRefused, "belongs to a witness or a node already"},
	} {
		code, stdout, stderr := command(t, "", nil, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: exit %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
}
