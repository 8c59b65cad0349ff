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
	call("POST", "/v1/objects", `{"name":"f","text":"ack: [ { filter: \"t/#\", policy: region } ]"}`, &admin.ObjectsChange{}) // goes with the home
	await(t, "parity not to speak of what is the home's", func() bool { return item("parity").State == "ok" })
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

func TestBackupAge(t *testing.T) {
	now := time.Now()
	const limit = 12 * time.Hour
	for _, c := range []struct {
		age, up time.Duration // age 0: there is none
		want    string
	}{{time.Hour, time.Hour, "ok"}, {13 * time.Hour, time.Hour, "fail"}, {0, time.Hour, "warn"}, {0, 13 * time.Hour, "fail"}} {
		at := time.Time{}
		if c.age > 0 {
			at = now.Add(-c.age)
		}
		if r := app.BackupAge("eu", at, now, limit, c.up); string(r.State) != c.want || r.Age != c.age || r.State != "ok" && !strings.Contains(r.Fix, "backup create") {
			t.Errorf("%s old, up for %s: %+v", c.age, c.up, r)
		}
	}
}

func TestLastDrill(t *testing.T) {
	now := time.Now()
	held := func(days int, outcome string) admin.Drill {
		ended := now.Add(-time.Duration(days) * 24 * time.Hour)
		return admin.Drill{ID: "q-" + fmt.Sprint(days), Ended: &ended, Outcome: outcome, Missed: []string{"p95"}}
	}
	for _, c := range []struct {
		all         []admin.Drill
		want, words string
	}{
		{nil, "warn", "no drill was held"},
		{[]admin.Drill{{ID: "now"}}, "warn", "no drill was held"},
		{[]admin.Drill{{ID: "now"}, held(20, "done"), held(110, "missed")}, "ok", "q-20"},
		{[]admin.Drill{held(20, "missed"), held(110, "done")}, "warn", "is missed: p95"},
		{[]admin.Drill{held(101, "done")}, "warn", "was 101d"},
	} {
		r := app.LastDrill(c.all, now)
		if string(r.State) != c.want || !strings.Contains(r.Reason, c.words) || r.State != "ok" && r.Fix == "" {
			t.Errorf("%v: %+v", c.all, r)
		}
	}
}

// A region without backups and drills is told so; a backup that is made, and a drill that is held, are seen.
func TestReadiness_BackupsAndDrills(t *testing.T) {
	file := fmt.Sprintf("region: eu\ndata_dir: %s\nlisteners: [ { name: mqtt, type: mqtt, listen: \"127.0.0.1:0\", auth: [anonymous] } ]\nadmin: { socket: %s/s }\n", t.TempDir(), t.TempDir())
	call := caller(t, regexp.MustCompile(`socket: (\S+)`).FindStringSubmatch(file)[1])
	becomes := func(check, state, words string) {
		t.Helper()
		await(t, check+" to be "+state, func() bool {
			var r admin.Readiness
			call("GET", "/v1/readiness?refresh=true", "", &r)
			for _, i := range r.Items {
				if i.Check == check {
					return i.State == state && strings.Contains(i.Reason, words)
				}
			}
			return false
		})
	}
	first := start(t, file, app.Options{})
	becomes("backup", "warn", "no backups are made")
	becomes("drill", "warn", "no drill was held")
	first.stop()

	start(t, file+fmt.Sprintf("backup: { to: %q, every: 6h }\n", t.TempDir()), app.Options{})
	becomes("backup", "ok", "the newest backup of home eu is")
	ended := time.Now().UTC().Format(time.RFC3339)
	call("PUT", "/v1/drills/q-1", fmt.Sprintf(`{"id":"q-1","name":"q","home":"eu","started":%q,"ended":%q,"outcome":"missed","missed":["p95"]}`, ended, ended), &admin.Drill{})
	becomes("drill", "warn", "is missed: p95")
}
