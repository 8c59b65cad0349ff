package app_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
)

// Of two regions that stand by each other the host knows how far its standby is, and that the other's rules differ:
// a failover there would treat devices otherwise.
func TestReadiness_RulesDiffer(t *testing.T) {
	euFile, usFile := pair(t)
	us := start(t, usFile+"ack: [{ filter: \"t/#\", policy: memory }]\n", app.Options{})
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	euFile = fmt.Sprintf(euFile, us.Links().Endpoint().Addr())
	start(t, euFile, app.Options{})
	call := caller(t, regexp.MustCompile(`socket: (\S+)`).FindStringSubmatch(euFile)[1])

	item := func(check string) (found admin.ReadinessItem) {
		var r admin.Readiness
		call("GET", "/v1/readiness?refresh=true", "", &r)
		for _, i := range r.Items {
			if i.Check == check {
				found = i
			}
		}
		return found
	}
	for check, want := range map[string][2]string{
		"parity":       {"fail", "region us: ack"},
		"standby_lag":  {"ok", "us stands by"},
		"voters":       {"ok", "all 2 voters"},
		"certificates": {"ok", "certificates, the first ends in"},
		"links":        {"ok", "up"},
		"hooks":        {"warn", "no hook"},
		"state":        {"ok", "ready"},
	} {
		var last admin.ReadinessItem
		await(t, check+" to be "+want[0], func() bool {
			last = item(check)
			return last.State == want[0] && strings.Contains(last.Reason, want[1])
		})
		if last.State != want[0] {
			t.Errorf("%+v", last)
		}
	}
	if i := item("parity"); strings.Contains(i.Reason, "users") || strings.Contains(i.Reason, "regions") {
		t.Errorf("what is equal is reported: %s", i.Reason)
	}
}

func TestValidity(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for _, c := range []struct {
		life, left time.Duration
		want       string
	}{{365 * day, 100 * day, "ok"}, {365 * day, 20 * day, "warn"}, {365 * day, 6 * day, "fail"}, {day, 23 * time.Hour, "ok"}, {day, 7 * time.Hour, "warn"}, {day, 2 * time.Hour, "fail"}, {day, -time.Hour, "fail"}} {
		r := app.Validity("node eu-1", admin.Certificate{Name: "node", NotBefore: now.Add(c.left - c.life), NotAfter: now.Add(c.left)}, now)
		if string(r.State) != c.want {
			t.Errorf("of %s with %s left: %+v", c.life, c.left, r)
		}
	}
}
