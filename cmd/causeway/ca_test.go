package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	meshtls "causeway/tls"
)

// An authority and two nodes are made by the commands alone; the nodes load what was written.
func TestCA_FromNothingToANode(t *testing.T) {
	dir := t.TempDir()
	ca, out := filepath.Join(dir, "ca"), filepath.Join(dir, "eu-1")
	if code, text, err := command(t, "", nil, "ca", "init", "--ca", ca, "--name", "Test CA", "--algorithm", "ed25519"); code != 0 || !strings.Contains(text, "CN=Test CA") {
		t.Fatalf("init: %d, %s%s", code, text, err)
	}
	code, text, err := command(t, "", nil, "ca", "issue", "--ca", ca, "--region", "eu", "--node", "eu-1",
		"--dns", "mqtt.example.com", "--ip", "127.0.0.1", "--ip", "::1", "--out", out, "--validity", "90d")
	if code != 0 || !strings.Contains(text, "identity: { cert: "+filepath.Join(out, "eu-1.pem")) {
		t.Fatalf("issue: %d, %s%s", code, text, err)
	}
	src, lerr := meshtls.Load(filepath.Join(out, "eu-1.pem"), filepath.Join(out, "eu-1-key.pem"), filepath.Join(out, "ca.pem"))
	if lerr != nil {
		t.Fatal(lerr)
	}
	id := src.Identity()
	if id.Region != "eu" || id.Node != "eu-1" || len(id.DNSNames) != 1 || len(id.IPs) != 2 {
		t.Errorf("identity %+v", id)
	}
	if left := time.Until(src.Expiry()); left > 90*24*time.Hour || left < 89*24*time.Hour {
		t.Errorf("valid for %v", left)
	}

	// The region's own certificate has no node and is named after the region.
	if code, _, err := command(t, "", nil, "ca", "issue", "--ca", ca, "--region", "eu", "--out", out); code != 0 {
		t.Errorf("issue for the region: %s", err)
	}
	if _, err := os.Stat(filepath.Join(out, "eu.pem")); err != nil {
		t.Error(err)
	}
}

func TestCA_Intermediate(t *testing.T) {
	dir := t.TempDir()
	root, eu, out := filepath.Join(dir, "root"), filepath.Join(dir, "eu-ca"), filepath.Join(dir, "eu")
	for _, args := range [][]string{
		{"init", "--ca", root}, {"intermediate", "--ca", root, "--region", "eu", "--out", eu}, {"issue", "--ca", eu, "--region", "eu", "--node", "eu-1", "--out", out},
	} {
		if code, text, err := command(t, "", nil, append([]string{"ca"}, args...)...); code != 0 {
			t.Fatalf("%v: %d, %s%s", args, code, text, err)
		}
	}
	if _, err := meshtls.Load(filepath.Join(out, "eu-1.pem"), filepath.Join(out, "eu-1-key.pem"), filepath.Join(root, "ca.pem")); err != nil {
		t.Errorf("whoever trusts the root does not trust what its intermediate issued: %v", err)
	}
	if code, _, err := command(t, "", nil, "ca", "issue", "--ca", eu, "--region", "us", "--out", out); code != 1 || !strings.Contains(err, `region "eu"`) {
		t.Errorf("issued for another region: %d, %s", code, err)
	}
	if code, _, _ := command(t, "", nil, "ca", "intermediate", "--ca", root, "--region", "eu", "--out", eu); code != 3 {
		t.Errorf("an intermediate that is there was overwritten: exit code %d", code)
	}
	if code, _, _ := command(t, "", nil, "ca", "intermediate", "--ca", root); code != 2 {
		t.Errorf("no region: exit code %d", code)
	}
}

func TestCA_Show(t *testing.T) {
	dir := t.TempDir()
	command(t, "", nil, "ca", "init", "--ca", dir)
	command(t, "", nil, "ca", "issue", "--ca", dir, "--region", "eu", "--node", "eu-1", "--out", dir)

	code, text, err := command(t, "", nil, "ca", "show", "--ca", dir)
	if code != 0 || !strings.Contains(text, "authority") || strings.Contains(text, "causeway://") {
		t.Errorf("show of the authority: %d, %s%s", code, text, err)
	}
	code, text, err = command(t, "", nil, "ca", "show", dir, "-o", "json")
	var infos []meshtls.Info
	if jerr := json.Unmarshal([]byte(text), &infos); code != 0 || jerr != nil || len(infos) != 3 {
		t.Fatalf("show of the folder: %d, %v, %s%s", code, jerr, text, err)
	}
	if infos[1].Identity != "causeway://region/eu/node/eu-1" || infos[1].DaysLeft != 364 {
		t.Errorf("second is %+v", infos[1])
	}
	for _, tc := range []struct{ arg, want string }{
		{filepath.Join(dir, "ca-key.pem"), "BEGIN CERTIFICATE"}, {"nowhere.pem", "name a PEM file"}, {t.TempDir(), "no *.pem"},
	} {
		if code, _, err := command(t, "", nil, "ca", "show", tc.arg); code != 1 || !strings.Contains(err, tc.want) {
			t.Errorf("show %s: %d, %s; want %q", tc.arg, code, err, tc.want)
		}
	}
}

// A refusal has its own exit code, its reason on stderr, and the same in JSON.
func TestCA_Refusal(t *testing.T) {
	dir := t.TempDir()
	command(t, "", nil, "ca", "init", "--ca", dir)
	before, _ := os.ReadFile(filepath.Join(dir, "ca.pem"))
	code, text, stderr := command(t, "", nil, "ca", "init", "--ca", dir, "-o", "json")
	var got struct{ Refused []string }
	if err := json.Unmarshal([]byte(text), &got); code != exitRefused || err != nil || len(got.Refused) != 1 || !strings.Contains(stderr, got.Refused[0]) {
		t.Errorf("%d, %v, stdout %s, stderr %s", code, err, text, stderr)
	}
	if now, _ := os.ReadFile(filepath.Join(dir, "ca.pem")); string(now) != string(before) {
		t.Error("the refused command changed the authority")
	}
	if code, _, stderr := command(t, "", nil, "ca", "init", "--ca", dir, "--force"); code != 0 {
		t.Errorf("forced: %d, %s", code, stderr)
	}
	if now, _ := os.ReadFile(filepath.Join(dir, "ca.pem")); string(now) == string(before) {
		t.Error("the forced command kept the authority")
	}
}

// A list of what was revoked is made, added to and shown by the commands alone; a node's file that names it is valid, and one
// that names the list of another authority is not.
func TestCA_Revoke(t *testing.T) {
	dir := t.TempDir()
	ca, other, out := filepath.Join(dir, "ca"), filepath.Join(dir, "other"), filepath.Join(dir, "eu-1")
	for _, args := range [][]string{
		{"init", "--ca", ca}, {"init", "--ca", other}, {"issue", "--ca", ca, "--region", "eu", "--node", "eu-1", "--out", out},
		{"revoke", "--ca", ca}, {"revoke", "--ca", other},
		{"revoke", "--ca", ca, "--reason", "key-compromise", "--validity", "30d", filepath.Join(out, "eu-1.pem")},
	} {
		if code, text, err := command(t, "", nil, append([]string{"ca"}, args...)...); code != 0 || args[0] == "revoke" && !strings.Contains(text, "revocation list") {
			t.Fatalf("%v: %d, %s%s", args, code, text, err)
		}
	}
	infos, err := meshtls.Describe(filepath.Join(out, "eu-1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	code, text, _ := command(t, "", nil, "ca", "show", ca)
	for _, want := range []string{"ca.pem: authority", "crl.pem: revocation list", "number", "29 days left", infos[0].Serial, "key-compromise"} {
		if code != 0 || !strings.Contains(text, want) {
			t.Errorf("show: %d, %q is missing in\n%s", code, want, text)
		}
	}
	var list []meshtls.ListInfo
	code, text, _ = command(t, "", nil, "ca", "show", filepath.Join(ca, "crl.pem"), "-o", "json")
	if err := json.Unmarshal([]byte(text), &list); code != 0 || err != nil || len(list) != 1 || list[0].Number != "2" || len(list[0].Revoked) != 1 {
		t.Errorf("show: %d, %v, %s", code, err, text)
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--ca", other, filepath.Join(out, "eu-1.pem")}, 1, "name the folder of that one"},
		{[]string{"--ca", ca, "--serial", "car-7"}, 1, "no number in hex"},
		{[]string{"--ca", ca, "--reason", "boredom"}, 2, "key-compromise"},
		{[]string{"--ca", out}, 1, "causeway ca init"},
	} {
		if code, _, err := command(t, "", nil, append([]string{"ca", "revoke"}, tc.args...)...); code != tc.code || !strings.Contains(err, tc.want) {
			t.Errorf("revoke %v: %d, %s; want %d, %q", tc.args, code, err, tc.code, tc.want)
		}
	}
	for list, want := range map[string]string{filepath.Join(ca, "crl.pem"): "", filepath.Join(other, "crl.pem"): "identity.crl: ", filepath.Join(dir, "none"): "no such file"} {
		node := "region: eu\nidentity: { cert: " + out + "/eu-1.pem, key: " + out + "/eu-1-key.pem, ca: " + out + "/ca.pem, crl: [" + list + "] }\n"
		file := filepath.Join(t.TempDir(), "causeway.yaml")
		if err := os.WriteFile(file, []byte(node), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, err := command(t, "", nil, "config", "validate", "--config", file)
		if (want == "") != (code == 0) || !strings.Contains(err, want) {
			t.Errorf("crl %s: %d, %s; want %q", list, code, err, want)
		}
	}
}
