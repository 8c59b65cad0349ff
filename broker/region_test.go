package broker

import (
	"path/filepath"
	"testing"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// Rules of a region come before those of the file; each home's devices have those of their home, and what decided is
// known by name and revision.
func TestRegionRules_BeforeTheFile(t *testing.T) {
	acl := write(t, filepath.Join(t.TempDir(), "acl"), `acl: [ { filters: { "file/#": 3 } } ]`)
	a, err := NewAuth(AuthOptions{Home: "eu", ACLFile: acl})
	if err != nil {
		t.Fatal(err)
	}
	decide := func(h home.ID, user, name string, write bool, want Decision) {
		t.Helper()
		who := &Identity{Username: user, ClientID: "c", Namespace: "cars", Home: h}
		if got := a.Decide(who, name, write); got != want {
			t.Errorf("%s %s %s %v: %+v, want %+v", h, user, name, write, got, want)
		}
		if got := a.Authorize(who, name, write); got != want.Allowed {
			t.Errorf("%s %s %s %v: authorized %v", h, user, name, write, got)
		}
	}
	decide("", "bob", "file/a", true, Decision{true, "file acl[0]", 0})
	decide("", "bob", "a", true, Decision{false, restRule, 0})
	a.SetRegions(map[home.ID]Region{
		"eu": {Rules: &Rules{Revision: 7, List: []Rule{
			{Name: "bobs", Username: "bo*", Publish: []string{"up/#"}, Subscribe: []string{"down/+"}, Deny: []string{"file/secret", "$SYS/#"}},
			{Name: "trucks", Namespace: "trucks"},
		}}},
		"us": {Rules: &Rules{Revision: 9, List: []Rule{{Name: "all"}}}},
	})
	decide("eu", "bob", "up/1", true, Decision{true, "bobs", 7})
	decide("eu", "bobby", "up/1", false, Decision{false, "bobs", 7})
	decide("eu", "bob", "down/+", false, Decision{true, "bobs", 7})
	decide("eu", "bob", "down/#", false, Decision{false, "bobs", 7})
	decide("eu", "bob", "file/secret", true, Decision{false, "bobs", 7})
	decide("eu", "bob", "file/#", false, Decision{false, "bobs", 7})
	decide("eu", "bob", "file/a", true, Decision{true, "file acl[0]", 0})
	decide("eu", "alice", "up/1", true, Decision{false, restRule, 7})
	decide("", "alice", "up/1", true, Decision{false, restRule, 7})
	decide("ap", "alice", "up/1", true, Decision{false, restRule, 7})
	decide("us", "alice", "up/1", true, Decision{true, "all", 9})
	denied := map[string]int64{}
	for _, d := range a.Denials() {
		if d.Home == "eu" {
			denied[d.Rule] = d.Publishes*100 + d.Subscribes
		}
	}
	if denied["bobs"] != 103 || denied[restRule] != 300 || denied["trucks"] != 0 {
		t.Errorf("denied %v", denied)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, d := range a.Denials() {
		if d.Home == "eu" && d.Rule == "bobs" && d.Publishes != 1 {
			t.Errorf("after a reload: %+v", d)
		}
	}
}

// Where the rules of a region cannot be read, nobody knows what they deny: the file grants nothing either.
func TestRegionRules_Closed(t *testing.T) {
	acl := write(t, filepath.Join(t.TempDir(), "acl"), `acl: [ { filters: { "#": 3, "$SYS/#": 3 } } ]`)
	a, err := NewAuth(AuthOptions{Home: "eu", ACLFile: acl})
	if err != nil {
		t.Fatal(err)
	}
	a.SetRegions(map[home.ID]Region{"eu": {Rules: &Rules{Revision: 7, Closed: true}}})
	for _, topic := range []string{"a", "#", "$SYS/#", "$other/#"} {
		for _, write := range []bool{false, true} {
			if got, want := a.Decide(&Identity{Home: "eu"}, topic, write), (Decision{false, closedRule, 7}); got != want {
				t.Errorf("%s %v: %+v", topic, write, got)
			}
		}
	}
}

func TestRegionUsers_BesideTheFile(t *testing.T) {
	users := write(t, filepath.Join(t.TempDir(), "users"), "alice:"+hashOf(t, "file")+"\n")
	l, a := authLab(t, AuthOptions{Home: "eu", PasswordFile: users})
	long := string(make([]byte, 80)) + "x"
	argon, err := HashPassword([]byte(long))
	if err != nil || ValidHash(argon) != nil {
		t.Fatal(err, ValidHash(argon))
	}
	a.SetRegions(map[home.ID]Region{"eu": {Users: map[string]string{"alice": hashOf(t, "region"), "bob": hashOf(t, "b"), "carol": argon}},
		"us": {Users: map[string]string{"bob": hashOf(t, "us"), "dora": hashOf(t, "d")}}})
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"alice", "file", true}, {"alice", "region", false}, {"bob", "b", true}, {"bob", "us", false}, {"carol", long, true}, {"carol", long + "y", false}, {"dora", "d", true}, {"nobody", "x", false}} {
		d := l.dial(packet.V5)
		if ack := d.hello("dev-"+c.user, withLogin(c.user, c.password)); (ack.Code == packet.Success) != c.ok {
			t.Errorf("%s: CONNACK %s", c.user, ack.Code)
		}
	}
	a.SetRegions(nil)
	if ack := l.dial(packet.V5).hello("dev", withLogin("bob", "b")); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("a user who was removed: CONNACK %s", ack.Code)
	}
}

func TestValidHash_Bounds(t *testing.T) {
	const tail = "$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5a2V5a2V5"
	for hash, ok := range map[string]bool{
		"$argon2id$v=19$m=65536,t=3,p=4" + tail:     true,
		"$argon2id$v=19$m=65536000,t=3,p=4" + tail:  false,
		"$argon2id$v=19$m=65536,t=3000,p=4" + tail:  false,
		"$argon2id$v=19$m=65536,t=3,p=0" + tail:     false,
		"$argon2id$v=18$m=65536,t=3,p=4" + tail:     false,
		"$argon2id$v=19$m=65536,t=3,p=4$c2Fsd$a2V5": false,
		"$argon2id$":   false,
		"secret":       false,
		"$2a$10$short": false,
	} {
		if err := ValidHash(hash); (err == nil) != ok {
			t.Errorf("%s: %v", hash, err)
		}
	}
}
