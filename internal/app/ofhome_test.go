package app_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/takeover/agent"
)

// The operators of a region that took over change what is configured of the home it took, and nothing of their own. The
// standby was asked before a file was entered; once it is gone, that is said.
func TestTakenOver_IsConfiguredThere(t *testing.T) {
	euFile, usFile := pair(t)
	us := start(t, usFile, app.Options{})
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	eu := start(t, fmt.Sprintf(euFile, us.Links().Endpoint().Addr()), app.Options{})
	file := func(rule string) admin.ObjectsFile {
		return admin.ObjectsFile{Name: "f", Text: "acl: [ { name: " + rule + ", publish: [\"" + rule + "\"] } ]\n"}
	}
	options := admin.ApplyOptions{By: "alice"}
	ctx := t.Context()
	unheard := func(c admin.ObjectsChange) bool {
		return strings.Contains(strings.Join(c.Effects, "\n"), "region us did not say")
	}
	await(t, "the standby to judge a file", func() bool {
		c, err := eu.Node().ApplyObjects(ctx, file("first"), admin.ApplyOptions{DryRun: true})
		return err == nil && !unheard(c) && len(eu.State().Takeover().Standbys) > 0 && us.Copy("eu") != nil
	})
	if _, err := eu.Node().ApplyObjects(ctx, file("first"), options); err != nil {
		t.Fatal(err)
	}
	await(t, "the standby to have it", func() bool { c := us.Copy("eu"); return c != nil && c.Position() == eu.State().Position() })
	var no *admin.Refused
	theirs, err := us.Node().ConfigOf("eu")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the copy to be open", func() bool {
		_, err = theirs.ApplyObjects(ctx, file("second"), options)
		return !errors.Is(err, admin.ErrUnavailable)
	})
	if !errors.As(err, &no) {
		t.Errorf("changed where it is not served: %v", err)
	}
	eu.stop()
	order(t, us, agent.Failover, agent.Order{Home: "eu", Force: true}, func() bool { return us.Hosts("eu") })
	may := func(topic string) func() bool {
		return func() bool {
			a, err := us.Node().TestACL(admin.ACLQuestion{Client: "lamp", Topic: topic, Home: "eu"})
			return err == nil && a.Publish.Allowed
		}
	}
	await(t, "the rules of before", may("first"))
	var c admin.ObjectsChange
	await(t, "a file to be taken", func() bool { // the home has only begun to be served
		c, err = theirs.ApplyObjects(ctx, file("second"), options)
		return err == nil
	})
	await(t, "the new rules", may("second"))
	if may("first")() {
		t.Error("the rules of before hold on")
	}
	if h, err := theirs.ObjectsHistory(); err != nil || len(h) != 2 || !h[0].InForce || h[0].Revision != c.Revision {
		t.Errorf("history %+v, %v", h, err)
	}
	if o, err := theirs.Objects("acl", false, 0); err != nil || !strings.Contains(o.Text, "second") {
		t.Errorf("it is %+v, %v", o, err)
	}
	if o, err := us.Node().Objects("", false, 0); err != nil || o.Revision != 0 {
		t.Errorf("the region's own: %+v, %v", o, err)
	}
	if _, err := theirs.ApplyObjects(ctx, file("third"), admin.ApplyOptions{Canary: "us-1"}); err == nil {
		t.Error("it is tried here")
	}
	if _, err := theirs.RollBackObjects(ctx, 0, "alice", false); err != nil {
		t.Fatal(err)
	}
	await(t, "the first rules again", may("first"))
	if _, err := theirs.SetUser(ctx, admin.UserEdit{Name: "lamp", Password: "secret", New: true}, "alice", false); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.AddToken(ctx, admin.Token{Name: "ci", Role: "admin"}, "aa", "alice", false); err != nil {
		t.Fatal(err)
	}
	await(t, "its user and token", func() bool {
		users, _ := theirs.Users()
		tokens, _ := theirs.Tokens()
		return len(users) == 1 && users[0].Name == "lamp" && len(tokens) == 1 && tokens[0].Name == "ci"
	})
	if users, err := us.Node().Users(); err != nil || len(users) != 0 {
		t.Errorf("the region's own users: %v, %v", users, err)
	}
	if _, ok := us.Node().TokenOf("aa"); ok {
		t.Error("a token of the other region is admitted here")
	}
	if _, err := us.Node().ConfigOf("mars"); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("a home that is not here: %v", err)
	}
}

// Limits that objects may have are followed while the node runs; what is taken up at its start is refused, with the reason.
func TestObjects_AreFollowed(t *testing.T) {
	u := startUnread(t)
	rate := func() float64 { return u.Node().Status().Admission.PerSecond }
	was := rate()
	u.write("objects", "takeover: { admission: 77/s }\n")
	await(t, "the new pace", func() bool { return rate() > 76.9 && rate() < 77.1 })
	u.write("objects", "")
	await(t, "the pace of the node file", func() bool { return rate() == was })
	for text, want := range map[string]string{
		"handover: { enabled: true }":   "handover.enabled: is true, and false in the node file: a node takes it up as it starts",
		"limits: { packet: 1MiB }":      "it belongs into the node file",
		"disk: { reserve: 20% }":        "it belongs into the node file",
		"limits: { subscriptions: -1 }": "limits.subscriptions",
	} {
		_, err := u.Node().ApplyObjects(t.Context(), admin.ObjectsFile{Name: "f", Text: text}, admin.ApplyOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Who listens hears of evacuations and bans, when they begin and when they are taken back.
func TestEvents_OfBansAndEvacuations(t *testing.T) {
	u := startUnread(t)
	heard := func(kind, what, text string) func() bool {
		return func() bool {
			return slices.ContainsFunc(u.Events(), func(e admin.Event) bool { return e.Kind == kind && e.What == what && strings.Contains(e.Text, text) })
		}
	}
	ban := admin.Ban{Kind: "client", Namespace: "default", Value: "mad", By: "alice", Reason: "it floods", At: time.Now().UTC()}
	if _, _, err := u.Node().AddBan(t.Context(), ban, false); err != nil {
		t.Fatal(err)
	}
	await(t, "the ban", heard("ban", "client mad", "kept out until it is taken back, by alice: it floods"))
	bans, err := u.Node().Bans()
	if err != nil || len(bans) != 1 {
		t.Fatal(bans, err)
	}
	if _, err := u.Node().DeleteBan(t.Context(), bans[0].ID, "bob", false); err != nil {
		t.Fatal(err)
	}
	await(t, "its end", heard("ban", "client mad", "let in again"))
	u.write("node/eu-2", `{"node":"eu-2","state":"evicting_conns","connections":70}`)
	await(t, "the evacuation of another node", heard("evacuation", "eu-2", "evicting_conns, it had 70 connections; by alice"))
	u.write("node/eu-2", "")
	await(t, "its end", heard("evacuation", "eu-2", "devices are taken again"))
}
