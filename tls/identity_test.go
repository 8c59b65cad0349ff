package meshtls

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func certNaming(t interface{ Fatalf(string, ...any) }, uris ...string) *x509.Certificate {
	cert := &x509.Certificate{}
	for _, raw := range uris {
		uri, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("parse %q: %v", raw, err)
		}
		cert.URIs = append(cert.URIs, uri)
	}
	return cert
}

func TestCertIdentity(t *testing.T) {
	for _, tc := range []struct {
		name string
		uris []string
		want string // the identity, or
		fail string // a part of the error
	}{
		{"region", []string{"causeway://region/eu"}, "causeway://region/eu", ""},
		{"node", []string{"causeway://region/eu", "causeway://region/eu/node/eu-1"}, "causeway://region/eu/node/eu-1", ""},
		{"node alone implies its region", []string{"causeway://region/eu/node/eu-1"}, "causeway://region/eu/node/eu-1", ""},
		{"beside foreign names", []string{"spiffe://x/y", "causeway://region/eu"}, "causeway://region/eu", ""},
		{"none", nil, "", "no causeway://region/ name"},
		{"foreign only", []string{"spiffe://region/eu"}, "", "no causeway://region/ name"},
		{"two regions", []string{"causeway://region/eu", "causeway://region/us"}, "", "two regions"},
		{"node of another region", []string{"causeway://region/eu", "causeway://region/us/node/us-1"}, "", "two regions"},
		{"two nodes", []string{"causeway://region/eu/node/a", "causeway://region/eu/node/b"}, "", "two nodes"},
		{"empty region", []string{"causeway://region/"}, "", "region \"\""},
		{"empty node", []string{"causeway://region/eu/node/"}, "", "want causeway://region/REGION"},
		{"other path", []string{"causeway://region/eu/admin/x"}, "", "want causeway://region/REGION"},
		{"longer path", []string{"causeway://region/eu/node/a/b"}, "", "node \"a/b\""},
		{"upper case", []string{"causeway://region/EU"}, "", "region \"EU\""},
		{"query", []string{"causeway://region/eu?x=1"}, "", "region \"eu?x=1\""},
		{"escaped slash", []string{"causeway://region/eu%2fnode%2fx"}, "", "region"},
		{"user before the host", []string{"causeway://a@region/eu"}, "", "no causeway://region/ name"},
		{"port", []string{"causeway://region:1/eu"}, "", "no causeway://region/ name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id, err := CertIdentity(certNaming(t, tc.uris...))
			if tc.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fail) {
					t.Fatalf("got %v, %v; want an error with %q", id, err, tc.fail)
				}
				return
			}
			if err != nil || id.String() != tc.want {
				t.Fatalf("got %v, %v; want %s", id, err, tc.want)
			}
		})
	}
}

// What is written into a certificate reads back as the same identity, for every name Validate
// lets through.
func TestIdentityRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := Identity{
			Region: rapid.StringMatching(`[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?`).Draw(t, "region"),
			Node:   rapid.StringMatching(`([a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?)?`).Draw(t, "node"),
		}
		if err := id.Validate(); err != nil {
			t.Fatalf("%+v: %v", id, err)
		}
		got, err := CertIdentity(&x509.Certificate{URIs: id.uris()})
		if err != nil || got.Region != id.Region || got.Node != id.Node {
			t.Fatalf("%+v came back as %+v, %v", id, got, err)
		}
	})
}

// Whatever a certificate names, what comes out is a valid identity whose URIs are among the names.
func FuzzCertIdentity(f *testing.F) {
	f.Add("causeway://region/eu", "causeway://region/eu/node/eu-1")
	f.Add("causeway://region/eu%2f", "causeway://region/../eu")
	f.Add("causeway://region/eu/node/", "mailto:x")
	f.Fuzz(func(t *testing.T, a, b string) {
		cert := &x509.Certificate{}
		for _, raw := range []string{a, b} {
			if uri, err := url.Parse(raw); err == nil {
				cert.URIs = append(cert.URIs, uri)
			}
		}
		id, err := CertIdentity(cert)
		if err != nil {
			return
		}
		if err := id.Validate(); err != nil {
			t.Fatalf("%q, %q: %v", a, b, err)
		}
		found := false
		for _, uri := range cert.URIs {
			found = found || uri.String() == id.String()
		}
		if !found {
			t.Fatalf("%q, %q: read as %s, which neither of them is", a, b, id)
		}
	})
}
