package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A region of three nodes, linked with another, is backed up under load by schedule's way: one of its nodes, encrypted
// for a key that no node can decrypt with. Then all its disks are lost. It is founded from the backup, and devices go on
// with their sessions: what waited at the time is there, what is sent from then on arrives, and the link works both
// ways.
func TestRestore_AllDisksLost(t *testing.T) {
	at := t.TempDir()
	key := filepath.Join(at, "backup.key")
	if out, code := causeway(t, at, "", "backup", "key", "--out", key); code != 0 {
		t.Fatal(out)
	}
	place := filepath.Join(at, "backups")
	tr, addr := region(t, trial.Options{Regions: []string{"eu", "us"}, Extra: func(region string) string {
		if region != "eu" {
			return ""
		}
		return "backup: { to: " + place + ", key: file:" + key + ".pub, keep: 2 }\n"
	}})
	nodes, us := tr.Region("eu"), tr.Region("us")
	lamp := []string{"-V", "5", "-i", "lamp", "-c", "-q", "1", "-t", "home/#", "-x", "100000"}
	subscribe(t, addr, append(lamp, "-E")...).wait()
	awaitRoute(t, us[0], "home/lamp", 0, 1)
	waiting := numbers(100)
	publishLines(t, addr, waiting[:50], "-q", "1", "-t", "home/lamp")
	publishLines(t, us[0].MQTT, waiting[50:], "-q", "1", "-t", "home/lamp")
	awaitQueued(t, nodes[0], "lamp", 100)
	publishLines(t, addr, nil, "-q", "1", "-r", "-t", "fleet/state", "-m", "kept")

	f := newFleet(t, addr, 20)
	stop := f.pace(20 * time.Millisecond)
	await(t, "some messages", func() bool { return f.pairs[0].to.distinct() >= 10 })
	leader := gateway(t, nodes)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	before := f.acked()
	ctl(t, follower, "backup", "create")
	after := f.acked()
	var list admin.Page[admin.Backup]
	ctlJSON(t, follower, &list, "backup", "list")
	if len(list.Items) != 1 || !list.Items[0].Encrypted || list.Items[0].Sessions != 41 || list.Items[0].Node != follower.Name {
		t.Fatalf("backups: %+v", list.Items)
	}
	name := list.Items[0].Name
	if out, code := causeway(t, at, "", "ctl", "--socket", follower.Socket(), "backup", "verify", name); code == 0 || !strings.Contains(out, "encrypted") {
		t.Errorf("a node without the secret key verified it: %d\n%s", code, out)
	}
	if out, code := causeway(t, at, "", "backup", "verify", name, "--from", place, "--key", key); code != 0 || !strings.Contains(out, "whole: 41 sessions") {
		t.Fatalf("verify: %d\n%s", code, out)
	}

	// What comes from here on is in no backup.
	stop()
	await(t, "everything to be acknowledged and to arrive", func() bool {
		return !slices.ContainsFunc(f.pairs, func(s *stream) bool {
			acked, _ := s.from.progress()
			return acked < f.sent || s.to.distinct() < f.sent
		})
	})
	publishLines(t, addr, []string{"too late"}, "-q", "1", "-t", "home/lamp")
	awaitQueued(t, nodes[0], "lamp", 101)
	for _, n := range nodes {
		n.Kill()
	}
	for _, n := range nodes {
		if err := n.Wipe(); err != nil {
			t.Fatal(err)
		}
	}

	restore := []string{"restore", "--config", nodes[0].ConfigFile(), "--key", key}
	if out, code := causeway(t, at, "", append(restore, "--dry-run")...); code != 0 || !strings.Contains(out, "begins as") {
		t.Fatalf("restore --dry-run: %d\n%s", code, out)
	}
	if _, err := os.Stat(nodes[0].DataDir()); err == nil {
		t.Fatal("a dry run left a data directory")
	}
	if out, code := causeway(t, at, "", restore...); code != 3 {
		t.Fatalf("restore without a yes: %d\n%s", code, out)
	}
	out, code := causeway(t, at, "", append(restore, "--yes")...)
	if code != 0 || !strings.Contains(out, "41 sessions") || !strings.Contains(out, "lost") {
		t.Fatalf("restore: %d\n%s", code, out)
	}
	t.Log(out)
	if out, code := causeway(t, at, "", append(restore, "--yes")...); code != 3 {
		t.Fatalf("restore onto a disk in use: %d\n%s", code, out)
	}
	if err := nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the first node to serve alone", func() bool { return get(t, nodes[0], "/v1/sessions/default/lamp", &admin.SessionDetail{}) == nil })
	restart(t, nodes[1], -1)
	restart(t, nodes[2], -1)
	var c admin.Cluster
	await(t, "three votes", func() bool {
		return get(t, gateway(t, nodes), "/v1/cluster", &c) == nil && c.Quorum.Have == 3
	})
	var st admin.Status
	if err := get(t, nodes[0], "/v1/status", &st); err != nil || len(st.Homes) != 1 || st.Homes[0].Epoch <= 1000 {
		t.Errorf("the home is at an epoch that a failover may have come to: %+v, %v", st.Homes, err)
	}

	// Devices that were connected go on with their sessions.
	sent := f.sent
	stop = f.pace(20 * time.Millisecond)
	defer func() {
		for _, s := range f.pairs {
			if t.Failed() && s.to.distinct() < f.sent {
				acked, _ := s.from.progress()
				t.Logf("%s at QoS %d: %d of %d acknowledged, %d arrived; %v, %v", s.from.topic, s.from.qos, acked, f.sent, s.to.distinct(), s.from.problem, s.to.problem)
			}
		}
	}()
	await(t, "everybody to go on", func() bool {
		return !slices.ContainsFunc(f.pairs, func(s *stream) bool { return s.to.distinct() < sent+20 })
	})
	stop()
	await(t, "everything to be acknowledged and to arrive", func() bool {
		return !slices.ContainsFunc(f.pairs, func(s *stream) bool {
			acked, _ := s.from.progress()
			return acked < f.sent || s.to.distinct() < f.sent
		})
	})
	again := 0
	for i, s := range f.pairs {
		l := settle(s.from.topic, s.from, s.to, 0)
		again += l.doubled
		// What waited at the time of the backup waits again, and nothing else: it is what was sent while the backup was begun.
		if l.lost > 0 || l.publisherSessions+l.subscriberSessions > 0 || l.doubled > after[i]-before[i]+2*s.from.window {
			t.Errorf("%s; session present was 0 on %d and %d connections; %d to %d were acknowledged as the backup was made", l, l.publisherSessions, l.subscriberSessions, before[i], after[i])
		}
	}
	t.Logf("%d messages came again that were on their way as the backup was made", again)
	if got := subscribe(t, addr, append(lamp, "-C", "100", "-W", "60")...).lines(); !slices.Equal(got, waiting) {
		t.Errorf("%s", differ(got, waiting))
	}
	if got := subscribe(t, addr, "-t", "fleet/state", "-C", "1", "-W", "60").lines(); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("retained: %q", got)
	}

	// The link works both ways, with what is new.
	awaitRoute(t, us[0], "home/lamp", 0, 1)
	more := numbers(50)
	publishLines(t, us[0].MQTT, more, "-q", "2", "-t", "home/lamp")
	if got := subscribe(t, addr, append(lamp, "-C", "50", "-W", "60")...).lines(); !slices.Equal(got, more) {
		t.Errorf("from us: %s", differ(got, more))
	}
	far := []string{"-V", "5", "-i", "far", "-c", "-q", "1", "-t", "far/#", "-x", "100000"}
	subscribe(t, us[0].MQTT, append(far, "-E")...).wait()
	awaitRoute(t, gateway(t, nodes), "far/x", 0, 1)
	publishLines(t, addr, more, "-q", "1", "-t", "far/x")
	if got := subscribe(t, us[0].MQTT, append(far, "-C", "50", "-W", "60")...).lines(); !slices.Equal(got, more) {
		t.Errorf("to us: %s", differ(got, more))
	}
}

// A namespace of a region that serves is destroyed by mistake, and is given back from a backup that the node itself cannot
// read: its device goes on with what waited, once and in order, and what was retained is there. The other namespace goes on
// with what came since, and a second run finds everything there.
func TestRestore_OneNamespaceGivenBack(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	key, place := filepath.Join(at, "backup.key"), filepath.Join(at, "backups")
	if out, code := causeway(t, at, "", "backup", "key", "--out", key); code != 0 {
		t.Fatal(out)
	}
	tr := start(t, trial.Options{Regions: []string{"eu"}, Extra: func(string) string {
		return "backup: { to: " + place + ", key: file:" + key + ".pub }\n"
	}})
	eu := tr.Node("eu")
	inNamespace(t, eu, "plants")
	plants := eu.WebSocket
	lamp := []string{"-V", "5", "-i", "lamp", "-c", "-q", "2", "-t", "home/#", "-x", "100000"}
	waiting := numbers(200)
	for _, addr := range []string{eu.MQTT, plants} {
		subscribe(t, addr, append(lamp, "-E")...).wait()
		publishLines(t, addr, waiting, "-q", "2", "-t", "home/lamp")
		publishLines(t, addr, nil, "-q", "1", "-r", "-t", "fleet/state", "-m", "kept")
	}
	ctl(t, eu, "backup", "create")
	var list admin.Page[admin.Backup]
	ctlJSON(t, eu, &list, "backup", "list")
	if len(list.Items) != 1 || !list.Items[0].Encrypted {
		t.Fatalf("backups: %+v", list.Items)
	}
	name := list.Items[0].Name

	ctl(t, eu, "sessions", "delete", "lamp", "--namespace", "plants", "--yes")
	ctl(t, eu, "retained", "delete", "fleet/state", "--namespace", "plants", "--yes")
	publishLines(t, eu.MQTT, []string{"since"}, "-q", "2", "-t", "home/lamp")

	restore := []string{"backup", "restore", name, "--namespace", "plants"}
	if out, code := causeway(t, at, "", append(append([]string{"ctl", "--socket", eu.Socket()}, restore...), "--yes")...); code != 3 || !strings.Contains(out, "--key") {
		t.Fatalf("without the secret key: %d\n%s", code, out)
	}
	restore = append(restore, "--key", key)
	gone := admin.SessionDetail{}
	var plan, done, again admin.BackupJob
	ctlJSON(t, eu, &plan, append(restore, "--dry-run")...)
	if err := get(t, eu, "/v1/sessions/plants/lamp", &gone); err == nil {
		t.Fatal("a dry run restored a session")
	}
	ctlJSON(t, eu, &done, append(restore, "--yes")...)
	for _, j := range []admin.BackupJob{plan, done} {
		if r := j.Restored; j.State != "done" || r == nil || r.Sessions != 1 || r.Messages != 200 || r.Retained != 1 || r.Kept+r.RetainedKept+r.Refused > 0 {
			t.Fatalf("%+v, %+v", j, j.Restored)
		}
	}
	ctlJSON(t, eu, &again, append(restore, "--yes")...)
	if r := again.Restored; r == nil || r.Sessions+r.Messages+r.Retained != 0 || r.Kept != 1 || r.RetainedKept != 1 {
		t.Errorf("again: %+v", r)
	}

	if got := subscribe(t, plants, append(lamp, "-C", "200", "-W", "60")...).lines(); !slices.Equal(got, waiting) {
		t.Errorf("in plants: %s", differ(got, waiting))
	}
	if got := subscribe(t, plants, "-t", "fleet/state", "-C", "1", "-W", "60").lines(); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("retained: %q", got)
	}
	publishLines(t, plants, []string{"new"}, "-q", "2", "-t", "home/lamp")
	if got := subscribe(t, plants, append(lamp, "-C", "1", "-W", "60")...).lines(); !slices.Equal(got, []string{"new"}) {
		t.Errorf("what is new: %q", got)
	}
	if got, want := subscribe(t, eu.MQTT, append(lamp, "-C", "201", "-W", "60")...).lines(), append(waiting, "since"); !slices.Equal(got, want) {
		t.Errorf("in the other namespace: %s", differ(got, want))
	}

	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(secret), "AGE-SECRET-KEY-")
	records, _ := causeway(t, "", "", "ctl", "--socket", eu.Socket(), "audit", "export")
	if line = strings.TrimSpace(line); len(line) < 20 || strings.Contains(records, line) || !strings.Contains(records, "namespace plants: 1 sessions (0 replaced, 0 kept, 0 refused), 200 messages, 1 retained") {
		t.Errorf("the audit log: %s", records)
	}
	if _, err := os.Stat(filepath.Join(eu.DataDir(), "backup-temp", "restore")); err == nil {
		t.Error("what was read of the backup lies about")
	}
}

// inNamespace makes a node's second listener one of MQTT in a namespace.
func inNamespace(t *testing.T, n *trial.Node, namespace string) {
	t.Helper()
	text, err := os.ReadFile(n.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	web := "{ name: web, type: ws, listen: \"" + n.WebSocket + "\", path: /mqtt, "
	if !strings.Contains(string(text), web) {
		t.Fatalf("there is no listener for WebSocket in\n%s", text)
	}
	write(t, n.ConfigFile(), strings.Replace(string(text), web, "{ name: other, type: mqtt, listen: \""+n.WebSocket+"\", namespace: "+namespace+", ", 1))
	n.Kill()
	restart(t, n, -1)
}

// acked is how much of each pair was acknowledged.
func (f *fleet) acked() (list []int) {
	for _, s := range f.pairs {
		n, _ := s.from.progress()
		list = append(list, n)
	}
	return list
}
