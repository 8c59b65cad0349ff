package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descCRLAge      = desc("crl_age_seconds", "Age of the list of revoked certificates in use, by its authority. Without a list there is none.", "use", "issuer")
	descCRLNext     = desc("crl_next_update_seconds", "Until the list's authority has promised a newer one; below 0 it is stale.", "use", "issuer")
	descCRLRevoked  = desc("crl_revoked_certificates", "Certificates that the list revokes.", "use", "issuer")
	descCRLMissing  = desc("crl_missing", "Sources that gave no list yet, and authorities that have none.", "use")
	descCRLFailures = desc("crl_refresh_failures_total", "Times a file or URL gave no list that could be taken.", "use")
	descCertificate = desc("certificate_expires_seconds", "Until the certificate ends: node, authority, listener NAME, devices of NAME.", "certificate")
)

var crlDescs = []*prometheus.Desc{descCRLAge, descCRLNext, descCRLRevoked, descCRLMissing, descCRLFailures, descCertificate}

// crls are the gauges of lists of revoked certificates; of several of one authority the one that is worst counts.
func (s *samples) crls(list []CRL, now time.Time) {
	type key struct{ use, issuer string }
	age, next := map[key]float64{}, map[key]float64{}
	for _, l := range list {
		k := key{l.Use, l.Issuer}
		s.add(descCRLMissing, oneIf(l.State == CRLMissing), l.Use)
		if l.ThisUpdate == nil {
			continue
		}
		age[k] = max(age[k], now.Sub(*l.ThisUpdate).Seconds())
		s.add(descCRLRevoked, float64(l.Revoked), l.Use, l.Issuer)
		if l.NextUpdate == nil {
			continue
		}
		left := l.NextUpdate.Sub(now).Seconds()
		if was, ok := next[k]; !ok || left < was {
			next[k] = left
		}
	}
	for k, v := range age {
		s.add(descCRLAge, v, k.use, k.issuer)
	}
	for k, v := range next {
		s.add(descCRLNext, v, k.use, k.issuer)
	}
}

// certificates are the gauges of when certificates end; of several authorities of one use the first that ends counts.
func (s *samples) certificates(list []Certificate, now time.Time) {
	left := map[string]float64{}
	for _, c := range list {
		if l, ok := left[c.Name]; !ok || c.NotAfter.Sub(now).Seconds() < l {
			left[c.Name] = c.NotAfter.Sub(now).Seconds()
		}
	}
	for name, v := range left {
		s.add(descCertificate, v, name)
	}
}

// crlConditions name the lists that are not as they should be.
func crlConditions(st Status) (out []Condition) {
	for _, l := range st.CRLs {
		c := Condition{Name: "crl", Level: "warning", Next: "causeway ctl readiness; publish the authority's newest list"}
		does := "is taken all the same"
		if l.Stale == "refuse" {
			c.Level, does = "critical", "is refused"
		}
		problem := ""
		if l.Problem != "" {
			problem = ": " + strings.ReplaceAll(l.Problem, "\n", "; ")
		}
		switch {
		case l.State == CRLStale && l.NextUpdate != nil:
			c.Summary = fmt.Sprintf("%s: the list of certificates revoked by %q ended %s ago, and who is not on it %s%s", l.Use, l.Issuer, FormatDuration(st.Now.Sub(*l.NextUpdate)), does, problem)
		case l.State == CRLMissing && l.Source != "":
			c.Summary = fmt.Sprintf("%s: %s gave no list of revoked certificates yet, and who would be on it %s%s", l.Use, l.Source, does, problem)
		case l.State == CRLMissing && l.Stale == "refuse":
			c.Summary = fmt.Sprintf("%s: the authority %q has no list of revoked certificates, and who has one of its certificates is refused", l.Use, l.Issuer)
		case l.State == CRLCurrent && l.Problem != "":
			c.Level, c.Summary = "warning", fmt.Sprintf("%s: the last list of certificates revoked by %q holds%s", l.Use, l.Issuer, problem)
		default:
			continue
		}
		out = append(out, c)
	}
	return out
}
