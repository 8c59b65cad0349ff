package app_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/health"
	"causeway/internal/home"
)

// unread is a node with documents that a newer build may have written.
type unread struct {
	t    *testing.T
	yaml string
	sock string
	*region
}

func startUnread(t *testing.T) *unread {
	t.Helper()
	dir := t.TempDir()
	u := &unread{t: t, sock: filepath.Join(dir, "s")}
	u.yaml = fmt.Sprintf("region: eu\nnode: eu-1\ndata_dir: %s\nadmin: {socket: %s}\nlisteners: []\n", filepath.Join(dir, "data"), u.sock)
	u.region = start(t, u.yaml, app.Options{})
	await(t, "the home's feature level", func() bool { return u.State().Level() >= home.LevelOf(home.KindSetDocument) })
	return u
}

// again restarts the node.
func (u *unread) again() {
	u.t.Helper()
	u.stop()
	u.region = start(u.t, u.yaml, app.Options{})
}

func (u *unread) write(name, body string) (revision uint64) {
	u.t.Helper()
	have, _ := u.State().Document(name)
	revision, err := u.Documents().Set(u.t.Context(), name, have.Revision, []byte(body), "alice", "")
	if err != nil {
		u.t.Fatal(err)
	}
	return revision
}

// may waits until a device may publish to some topics and to no others.
func (u *unread) may(what string, topics map[string]bool) {
	u.t.Helper()
	call := caller(u.t, u.sock)
	await(u.t, what, func() bool {
		for topic, want := range topics {
			var a admin.ACLAnswer
			if call("GET", "/v1/objects/acl/test?client=lamp&topic="+topic, "", &a); a.Publish.Allowed != want {
				return false
			}
		}
		return true
	})
}

// says waits until the status page and readiness name a document.
func (u *unread) says(words ...string) {
	u.t.Helper()
	call := caller(u.t, u.sock)
	var st admin.Status
	await(u.t, "the status to say "+strings.Join(words, ", "), func() bool {
		call("GET", "/v1/status", "", &st)
		if st.Trouble == nil {
			return len(words) == 0
		}
		for _, w := range words {
			if !strings.Contains(st.Trouble.Summary, w) {
				return false
			}
		}
		return st.Trouble.Next != ""
	})
	await(u.t, "readiness to say so", func() bool {
		var ready admin.Readiness
		call("GET", "/v1/readiness?refresh=true", "", &ready)
		i := slices.IndexFunc(ready.Items, func(i admin.ReadinessItem) bool { return i.Check == "documents" })
		return i >= 0 && ready.Items[i].State == "fail" && strings.Contains(ready.Items[i].Reason, words[0])
	})
}

const newer = "acl: [ { name: all, publish: [\"#\"], weekdays: [monday] } ]\n"

// Access rules that cannot be read deny what those before denied, also when the node starts with them.
func TestUnread_RulesOfBeforeHold(t *testing.T) {
	u := startUnread(t)
	u.write("objects", "acl: [ { name: up, publish: [\"up/#\"] } ]\n")
	rules := map[string]bool{"up": true, "down": false}
	u.may("the rules to be in force", rules)
	rev := u.write("objects", newer)
	for range 2 {
		u.says(fmt.Sprintf("revision %d of the document objects of home eu", rev), "weekdays")
		u.may("the rules of before to hold", rules)
		u.again()
	}
	u.write("objects", "limits: { colour: red }\nacl: [ { name: down, publish: [\"down\"] } ]\n")
	u.may("the rules that can be read to hold", map[string]bool{"up": false, "down": true})
	u.again()
	u.may("the rules that can be read to hold after a restart", map[string]bool{"up": false, "down": true})
}

// Where there were no rules before, rules that cannot be read deny everything, and load balancers send devices elsewhere.
func TestUnread_NothingIsGrantedByRulesThatNobodyKnows(t *testing.T) {
	u := startUnread(t)
	u.may("everything to be allowed without rules", map[string]bool{"up": true})
	rev := u.write("objects", newer)
	for range 2 {
		u.may("everything to be denied", map[string]bool{"up": false, "$SYS/x": false})
		u.says(fmt.Sprintf("revision %d of the document objects", rev), "everything is denied")
		if got := u.Health(); got != health.Starting {
			t.Errorf("the node is %s", got)
		}
		u.stop()
		u.region = startUntil(t, u.yaml, app.Options{}, nil)
		await(t, "the home", func() bool { return u.Replica() != nil })
	}
	u.write("objects", "limits: { inflight: 20 }\n")
	u.may("objects without rules", map[string]bool{"up": true})
}

// Users that cannot be read admit nobody else, and are no longer than they are there.
func TestUnread_Users(t *testing.T) {
	u := startUnread(t)
	u.write("users/03", `{"lamp": "$2a$04$abc"}`)
	count := func(n int) func() bool {
		return func() bool {
			var p admin.Page[admin.User]
			caller(t, u.sock)("GET", "/v1/users", "", &p)
			return len(p.Items) == n
		}
	}
	await(t, "a user", count(1))
	rev := u.write("users/03", `["of a newer build"]`)
	u.says(fmt.Sprintf("revision %d of the document users/03", rev))
	await(t, "the user of before", count(1))
	u.again()
	u.says(fmt.Sprintf("revision %d of the document users/03", rev))
	await(t, "nobody", count(0))
	u.write("users/03", "")
	await(t, "no word of it any more", func() bool {
		var st admin.Status
		caller(t, u.sock)("GET", "/v1/status", "", &st)
		return st.Trouble == nil || !strings.Contains(st.Trouble.Summary, "users/03")
	})
}

// Bans that cannot be read keep out whom those before did, and whom those of them do that can be read. A node that starts with
// them lets nobody in, as it does not know who is banned, and says to load balancers that it is not ready; an operator writes
// them anew with what can be read. A node that jails by itself does not.
func TestUnread_Bans(t *testing.T) {
	u := startUnread(t)
	banned := func(id string) bool {
		reason, _ := u.Gate().Device(&broker.Identity{Namespace: "default", ClientID: id})
		return reason != ""
	}
	ban := func(id string) string {
		return fmt.Sprintf(`{"kind": "client", "namespace": "default", "value": %q, "at": "2026-03-01T00:00:00Z", "by": "alice"}`, id)
	}
	add := func(id string) error {
		_, _, err := u.Node().AddBan(t.Context(), admin.Ban{Kind: "client", Namespace: "default", Value: id, By: "alice", At: time.Now()}, false)
		return err
	}
	u.write("ban/list", "["+ban("mad")+"]")
	await(t, "the ban", func() bool { return banned("mad") })
	rev := u.write("ban/list", "["+ban("bad")+`, {"kind": "fingerprint", "value": "ab:cd"}]`)
	u.says(fmt.Sprintf("revision %d of the document ban/list", rev), "fingerprint")
	await(t, "what can be read, and what was read before, to hold", func() bool { return banned("bad") && banned("mad") })
	if banned("well") || u.Health() != health.Ready {
		t.Errorf("a node that knows who was banned before keeps everybody out, or is %s", u.Health())
	}

	u.stop()
	u.region = startUntil(t, u.yaml, app.Options{}, nil)
	await(t, "the node to let nobody in", func() bool { return banned("well") && u.Health() == health.Starting })
	if _, temporary := u.Gate().Device(&broker.Identity{Namespace: "default", ClientID: "well"}); !temporary {
		t.Error("devices are told that they are banned, for something that will pass")
	}
	u.says(fmt.Sprintf("revision %d of the document ban/list", rev), "nobody is let in")
	if err := add("worse"); err != nil {
		t.Fatal(err)
	}
	await(t, "the bans that could be read and the new one", func() bool {
		return banned("bad") && banned("worse") && !banned("well") && !banned("mad") && u.Health() == health.Ready
	})

	rev = u.write("ban/list", `"of a newer build"`)
	u.says(fmt.Sprintf("revision %d of the document ban/list", rev))
	u.stop()
	u.region = startUntil(t, u.yaml, app.Options{}, nil)
	await(t, "the node to let nobody in", func() bool { return banned("well") && u.Health() == health.Starting })
	if err := u.Jail(t.Context(), "default", "mad"); err == nil {
		t.Error("a node writes a list anew by itself that it cannot read")
	}
	u.write("ban/list", "")
	await(t, "everybody to be let in", func() bool { return !banned("well") && !banned("bad") && u.Health() == health.Ready })
}
