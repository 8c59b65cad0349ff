package e2e

import (
	"strings"
	"testing"

	"causeway/internal/trial"
)

// Users come from the file that `causeway passwd` writes, what they may do from the access
// rules. Who is wrong about either is told so.
func TestPasswordAndRules_OnlyWhatWasGranted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users, rules := dir+"/users", dir+"/rules.yaml"
	for _, u := range []string{"eve", "mallory"} {
		if out, code := causeway(t, "", "secret-"+u+"\n", "passwd", "--cost", "4", "--file", users, u); code != 0 {
			t.Fatalf("passwd: exit code %d\n%s", code, out)
		}
	}
	write(t, rules, "users:\n  eve: { acl: { \"door/#\": 3 } }\n  mallory: { acl: { \"door/#\": 1 } }\n")
	tr := layOut(t, trial.Options{Regions: []string{"eu"}, Extra: func(string) string {
		return "auth: { password_file: " + users + ", acl_file: " + rules + " }\n"
	}})
	eu := tr.Node("eu")
	edit(t, eu, "auth: [anonymous]", "auth: [password]")
	restart(t, eu, 0)
	sub := subscribe(t, eu.MQTT, "-u", "mallory", "-P", "secret-mallory", "-q", "1", "-t", "door/#", "-C", "1")
	awaitRoute(t, eu, "door/1", 1, 0)

	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"wrong password", "Bad User Name or Password", []string{"-V", "5", "-u", "eve", "-P", "guess", "-t", "door/1", "-m", "x"}},
		{"nobody", "Bad User Name or Password", []string{"-V", "5", "-t", "door/1", "-m", "x"}},
		{"no right to publish", "Not authorized", []string{"-V", "5", "-u", "mallory", "-P", "secret-mallory", "-q", "1", "-t", "door/1", "-m", "x"}},
	} {
		out, _ := runBounded(mosquitto(t, "mosquitto_pub", eu.MQTT, c.args...))
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: told %q", c.name, out)
		}
	}
	publish(t, eu.MQTT, "-u", "eve", "-P", "secret-eve", "-q", "1", "-t", "door/1", "-m", "open")

	if got := sub.wait(); got != "open\n" {
		t.Errorf("the subscriber got %q, want only what eve said", got)
	}
}
