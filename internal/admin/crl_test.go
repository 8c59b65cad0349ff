package admin

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// What is said of lists of revoked certificates: a condition for each that is not as it should be, and figures of each use.
func TestCRL_ConditionsAndMetrics(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) *time.Time { x := now.Add(d); return &x }
	list := []CRL{
		{Use: "identity", Issuer: "Fleet", Source: "crl.pem", State: CRLCurrent, Stale: "alarm", Revoked: 2, ThisUpdate: in(-time.Hour), NextUpdate: in(100 * time.Hour)},
		{Use: "identity", Issuer: "Fleet", Source: "more.pem", State: CRLStale, Stale: "alarm", Revoked: 3, ThisUpdate: in(-200 * time.Hour), NextUpdate: in(-50 * time.Hour)},
		{Use: "listener cars", Source: "http://a", State: CRLMissing, Stale: "refuse", Problem: "down\nagain"},
		{Use: "listener cars", Issuer: "Cars", State: CRLMissing, Stale: "refuse"},
		{Use: "listener vans", Issuer: "Vans", State: CRLMissing, Stale: "alarm"},
		{Use: "listener vans", Issuer: "Old", Source: "b", State: CRLCurrent, Stale: "refuse", ThisUpdate: in(-time.Hour), Problem: "went back"},
	}
	var got []string
	for _, c := range crlConditions(Status{Now: now, CRLs: list}) {
		if c.Name != "crl" || c.Next == "" {
			t.Errorf("%+v", c)
		}
		got = append(got, c.Level+": "+c.Summary)
	}
	want := []string{
		`warning: identity: the list of certificates revoked by "Fleet" ended 2d2h ago, and who is not on it is taken all the same`,
		`critical: listener cars: http://a gave no list of revoked certificates yet, and who would be on it is refused: down; again`,
		`critical: listener cars: the authority "Cars" has no list of revoked certificates, and who has one of its certificates is refused`,
		`warning: listener vans: the last list of certificates revoked by "Old" holds: went back`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	f := newFake()
	f.st.CRLs, f.counts.CRLFailures = list, []UseCount{{"listener cars", 7}}
	text := page(t, fixture(t, f))
	for _, want := range []string{
		`causeway_crl_age_seconds{issuer="Fleet",use="identity"} 7200\d\d`, `causeway_crl_next_update_seconds{issuer="Fleet",use="identity"} -1800\d\d`,
		`causeway_crl_revoked_certificates{issuer="Fleet",use="identity"} 5`, `causeway_crl_missing{use="listener cars"} 2`, `causeway_crl_missing{use="identity"} 0`,
		`causeway_crl_refresh_failures_total{use="listener cars"} 7`, `causeway_certificate_expires_seconds{certificate="node"} -?\d`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, `issuer="Vans"`) || strings.Contains(text, `next_update_seconds{issuer="Old"`) {
		t.Error("a figure of what is not there")
	}
}
