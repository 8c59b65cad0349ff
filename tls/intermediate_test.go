package meshtls

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func intermediate(t *testing.T, root *CA, region string) *CA {
	t.Helper()
	dir := t.TempDir()
	if _, err := CreateIntermediate(root, dir, region, 0, false); err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(filepath.Join(dir, CACertFile), filepath.Join(dir, CAKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// meet lets two identities shake hands; the server's region is eu.
func meet(t *testing.T, client, server *Source) error {
	t.Helper()
	_, _, clientErr, serverErr := handshake(t, ClientConfig(client, "eu", "test"), ServerConfig(server, "test"))
	return errors.Join(clientErr, serverErr)
}

// Nodes trust the root alone, and what each region's authority issued.
func TestIntermediate_IssuesForItsRegion(t *testing.T) {
	root := newCA(t, CAOptions{})
	eu, us := intermediate(t, root, "eu"), intermediate(t, root, "us")
	client, server := mustLoad(t, issueTo(t, us, Identity{Region: "us", Node: "us-1"})), mustLoad(t, issueTo(t, eu, Identity{Region: "eu", Node: "eu-1"}))
	if err := meet(t, client, server); err != nil {
		t.Errorf("regions under one root: %v", err)
	}
	if old := mustLoad(t, issueTo(t, root, Identity{Region: "us", Node: "us-2"})); meet(t, old, server) != nil {
		t.Error("a certificate that the root issued itself is not taken beside")
	}
	if ends := server.CAExpiry(); ends.After(time.Now().Add(DefaultIntermediateValidity)) {
		t.Errorf("its authority ends on %s: that is the root's end, the region's comes first", ends)
	}
}

// Whoever has the key of one region's authority cannot speak for another region.
func TestIntermediate_OfAnotherRegionIsRefused(t *testing.T) {
	root := newCA(t, CAOptions{})
	us := intermediate(t, root, "us")
	if _, err := Issue(us, Identity{Region: "eu", Node: "eu-1"}, 0); err == nil || !strings.Contains(err.Error(), `"us"`) {
		t.Errorf("issuing for another region: %v", err)
	}
	us.region = "" // a thief's program does not ask
	issued := mustIssue(t, us, Identity{Region: "eu", Node: "eu-1"})
	files, err := issued.Write(t.TempDir(), "eu-1", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(files.Cert, files.Key, files.CA); err == nil || !strings.Contains(err.Error(), "another region") {
		t.Errorf("a node loads it: %v", err)
	}
	chain, err := parseCerts("eu-1.pem", issued.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	server := mustLoad(t, issueTo(t, root, Identity{Region: "eu", Node: "eu-2"}))
	if err := server.verifyChain(chain, x509.ExtKeyUsageClientAuth); err == nil || !strings.Contains(err.Error(), "another region") {
		t.Errorf("a peer takes it: %v", err)
	}
}

func TestCreateIntermediate_Refuses(t *testing.T) {
	root := newCA(t, CAOptions{Validity: 24 * time.Hour})
	below := func() *CA { return intermediate(t, newCA(t, CAOptions{}), "eu") }
	for name, tc := range map[string]struct {
		root   *CA
		region string
		want   string
	}{
		"bad name":          {newCA(t, CAOptions{}), "E U", `region "E U"`},
		"outlasts the root": {root, "eu", "ends on"},
		"below another":     {below(), "eu", "may not have one below it"},
	} {
		if _, err := CreateIntermediate(tc.root, t.TempDir(), tc.region, 0, false); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
