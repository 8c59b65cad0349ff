package app

import "testing"

// Whoever asks before the home is open waits: users and rules are in it, and to say that there are none would refuse
// devices that are known.
func TestFollow_SaysNothingBeforeTheHomeIsOpen(t *testing.T) {
	a := &App{}
	a.home = &homeService{a: a, id: "eu"}
	a.homes = []*homeService{a.home}
	a.follow() // there is no broker to tell
	if a.followed.key != "" {
		t.Errorf("told: %q", a.followed.key)
	}

	a.home.usersOf = map[string]string{"lamp": "hash"}
	if got := a.home.users(); got["lamp"] != "hash" {
		t.Errorf("while the home is closed it has users %v", got)
	}
}
