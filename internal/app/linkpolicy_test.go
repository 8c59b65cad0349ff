package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/home"
)

// What a policy shows of each key is what sets it so.
func TestPolicyKeys_ShowWhatSetsThem(t *testing.T) {
	full := home.SetPeer{In: []string{"a/#"}, Out: []string{"b", "c/+"}, Never: []string{"pii/#"}, InPrefix: "us/", QoSMax: 1, Rate: 25e6, Retained: true,
		Refuse: true, SpoolBytes: 5 << 30, SpoolAge: 72 * time.Hour}
	file := setPeerOp(&config.Link{In: []string{"#"}, Out: []string{"#"}, QoSMax: 2, Spool: config.Spool{Bytes: 10 << 30, Age: time.Hour, AtLimit: config.SpoolDropOldest}})
	for _, p := range []home.SetPeer{full, *file} {
		var back home.SetPeer
		var all home.PolicyKeys
		for _, k := range policyKeys {
			if err := k.parse(&back, k.show(&p)); err != nil {
				t.Errorf("%s: %v", k.name, err)
			}
			all |= k.bit
		}
		if got, want := home.AppendOp(nil, &back), home.AppendOp(nil, &p); !slices.Equal(got, want) {
			t.Errorf("got  %+v\nwant %+v", back, p)
		}
		if over := (home.SetPeer{}).Over(all, &back); !slices.Equal(home.AppendOp(nil, &over), home.AppendOp(nil, &p)) {
			t.Errorf("a key is not among those that lie over the file: %+v", over)
		}
	}
}

func TestEditPolicy(t *testing.T) {
	set := func(key string, value ...string) admin.PolicyEdit {
		return admin.PolicyEdit{Set: []admin.PolicySetting{{Key: key, Value: value}}}
	}
	was := home.SetPolicy{Keys: home.KeyOut | home.KeyRate, Values: home.SetPeer{Out: []string{"a"}, Rate: 5000}}
	for _, c := range []struct {
		name string
		edit admin.PolicyEdit
		keys home.PolicyKeys
		err  string
	}{
		{"one more", set("never", "pii/#"), was.Keys | home.KeyNever, ""},
		{"a list of none", set("never"), was.Keys | home.KeyNever, ""},
		{"no filters would be all", set("out"), 0, "an empty list would let everything through"},
		{"no filter", set("in", "a/#/b"), 0, "in:"},
		{"a group", set("in", "$share/g/a"), 0, "shared subscription"},
		{"no key", set("colour", "red"), 0, `there is no key "colour"`},
		{"two values", set("rate", "1MB/s", "2MB/s"), 0, "want one value"},
		{"a bad rate", set("rate", "fast"), 0, "rate:"},
		{"a low rate", set("rate", "8bit/s"), 0, "out of range"},
		{"no rate", set("rate", "0"), was.Keys, ""},
		{"a bad prefix", set("in_prefix", "eu"), 0, `must end with "/"`},
		{"no prefix", set("in_prefix", ""), was.Keys | home.KeyInPrefix, ""},
		{"a bad QoS", set("qos_max", "0"), 0, "want 1 or 2"},
		{"a bad limit", set("spool.at_limit", "panic"), 0, "want drop-oldest or refuse"},
		{"a small spool", set("spool.bytes", "1kB"), 0, "at least 1MiB"},
		{"a short age", set("spool.age", "1ms"), 0, "at least 1s"},
		{"neither true nor false", set("retained", "maybe"), 0, "want true or false"},
		{"reset one", admin.PolicyEdit{Reset: []string{"rate"}}, home.KeyOut, ""},
		{"reset all", admin.PolicyEdit{Reset: []string{"all"}}, 0, ""},
		{"reset and set", admin.PolicyEdit{Reset: []string{"all"}, Set: set("qos_max", "1").Set}, home.KeyQoSMax, ""},
		{"reset what is none", admin.PolicyEdit{Reset: []string{"colour"}}, 0, "and all"},
	} {
		got, err := editPolicy(was, c.edit)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %s", c.name, err, c.err)
		case c.err == "" && (err != nil || got.Keys != c.keys):
			t.Errorf("%s: keys %b, %v; want %b", c.name, got.Keys, err, c.keys)
		}
	}
}

func TestFirstLevels(t *testing.T) {
	for _, c := range []struct {
		topic string
		depth int
		want  string
	}{
		{"a", 1, "a"}, {"a/b", 1, "a/#"}, {"a/b", 2, "a/b"}, {"a/b/c", 2, "a/b/#"}, {"/a/b", 1, "/#"}, {"a//b", 2, "a//#"}, {"a/", 1, "a/#"},
	} {
		if got := firstLevels(c.topic, c.depth); got != c.want {
			t.Errorf("%q by %d levels: %q, want %q", c.topic, c.depth, got, c.want)
		}
	}
}
