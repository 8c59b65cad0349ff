package devices

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func key(i int) Key { return Key{"ns", fmt.Sprint("dev-", i)} }

// The log has the last events of each device in order, and never more than its bound; who was heard of longest ago goes
// first, all of it.
func TestLog_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const each, all = 3, 20
		l := NewLog(each, all)
		model := map[Key][]Event{}
		var recent []Key
		for i := range rapid.IntRange(0, 200).Draw(t, "events") {
			k := key(rapid.IntRange(0, 12).Draw(t, "device"))
			e := Event{At: noon.Add(time.Duration(i)), Kind: Connected}
			l.Add(k, e)
			model[k] = append(model[k], e)
			model[k] = model[k][max(0, len(model[k])-each):]
			recent = append(slices.DeleteFunc(recent, func(x Key) bool { return x == k }), k)
			for sum := func() (n int) {
				for _, es := range model {
					n += len(es)
				}
				return n
			}; sum() > all; recent = recent[1:] {
				delete(model, recent[0])
			}
		}
		n := 0
		for i := range 13 {
			if got := l.Of(key(i)); !slices.Equal(got, model[key(i)]) {
				t.Fatalf("%v has %v, want %v", key(i), got, model[key(i)])
			}
			n += len(model[key(i)])
		}
		if l.Events() != n || n > all {
			t.Fatalf("%d events, %d counted", n, l.Events())
		}
	})
}

// Whatever the stream: a count is right but for its error, errors are bounded by total/places, and who does more than
// that share is always there.
func TestTop_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.IntRange(1, 8).Draw(t, "places")
		top := NewTop(places, time.Hour)
		exact, total := map[Key]int64{}, int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			k, n := key(rapid.IntRange(0, 20).Draw(t, "device")), int64(rapid.IntRange(1, 5).Draw(t, "times"))
			exact[k] += n
			total += n
			if surely := top.Add(k, n, noon); surely > exact[k] {
				t.Fatalf("%v surely did it %d times, and did %d", k, surely, exact[k])
			}
		}
		list, _ := top.Most(places, noon)
		there := map[Key]bool{}
		for i, c := range list {
			there[c.Key] = true
			if c.Count < exact[c.Key] || c.Count-c.Error > exact[c.Key] || c.Error > total/int64(places) {
				t.Fatalf("%+v of %d, total %d", c, exact[c.Key], total)
			}
			if i > 0 && c.Count > list[i-1].Count {
				t.Fatalf("not in order: %v", list)
			}
		}
		for k, n := range exact {
			if n > total/int64(places) && !there[k] {
				t.Fatalf("%v did %d of %d and is not among %d", k, n, total, places)
			}
		}
	})
}

func TestTop_TellsOfNow(t *testing.T) {
	top := NewTop(10, time.Minute)
	top.Add(key(1), 5, noon)
	top.Add(key(2), 3, noon.Add(70*time.Second))
	list, since := top.Most(10, noon.Add(80*time.Second))
	if len(list) != 2 || list[0].Count != 5 || !since.Equal(noon.Add(10*time.Second)) {
		t.Errorf("%v since %s", list, since)
	}
	if list, _ = top.Most(10, noon.Add(131*time.Second)); len(list) != 1 || list[0].Key != key(2) {
		t.Errorf("after two windows: %v", list)
	}
	if list, _ = top.Most(10, noon.Add(time.Hour)); len(list) != 0 {
		t.Errorf("after an hour: %v", list)
	}
}

func TestBans(t *testing.T) {
	b := NewBans()
	later := noon.Add(time.Minute)
	b.Set([]Ban{{Kind: BanClient, Namespace: "ns", Value: "mad"}, {Kind: BanUser, Namespace: "ns", Value: "eve", Until: later},
		{Kind: BanAddress, Value: "10.1.2.3/16"}, {Kind: BanAddress, Value: "2001:db8::1"}, {Kind: BanAddress, Value: "nowhere"}, {Kind: "colour", Value: "red"}})
	for _, tt := range []struct {
		k    Key
		user string
		at   time.Time
		want bool
	}{
		{Key{"ns", "mad"}, "", noon, true}, {Key{"ns", "mad2"}, "", noon, false}, {Key{"other", "mad"}, "", noon, false},
		{Key{"ns", "x"}, "eve", noon, true}, {Key{"ns", "x"}, "eve", later, false}, {Key{"other", "x"}, "eve", noon, false}, {Key{"ns", "x"}, "", noon, false},
	} {
		if got := b.Device(tt.k, tt.user, tt.at) != nil; got != tt.want {
			t.Errorf("%v of %q: banned %v", tt.k, tt.user, got)
		}
	}
	for addr, want := range map[string]bool{"10.1.9.9:555": true, "10.2.0.1:1": false, "[::ffff:10.1.0.1]:5": true, "10.1.0.1": true, "[2001:db8::1]:80": true,
		"[2001:db8::2]:80": false, "": false, "unix": false, "[2001:db8::1%eth0]:80": true} {
		if got := b.Address(addr, noon) != nil; got != want {
			t.Errorf("%s: banned %v", addr, got)
		}
	}
}

func TestBan_Check(t *testing.T) {
	for _, tt := range []struct {
		b    Ban
		want string // its value, or what the error says
	}{
		{Ban{Kind: BanAddress, Value: "10.1.2.3"}, "10.1.2.3/32"},
		{Ban{Kind: BanAddress, Value: "10.1.2.3/8"}, "10.0.0.0/8"},
		{Ban{Kind: BanAddress, Value: "0.0.0.0/0"}, ""},
		{Ban{Kind: BanAddress, Value: "::/0"}, ""},
		{Ban{Kind: BanAddress, Value: "::ffff:10.0.0.0/104"}, ""},
		{Ban{Kind: BanAddress, Value: "10.1.2.300"}, "is no address"},
		{Ban{Kind: BanAddress, Value: "fe80::1%eth0"}, "is no address"},
		{Ban{Kind: BanClient, Namespace: "ns", Value: "a b"}, "a b"},
		{Ban{Kind: BanClient, Value: "a"}, "namespace"},
		{Ban{Kind: BanUser, Namespace: "ns"}, "names 1 to"},
		{Ban{Kind: "colour", Value: "red"}, "cannot be banned"},
		{Ban{Kind: BanUser, Namespace: "ns", Value: strings.Repeat("x", 2000)}, "names 1 to"},
	} {
		b := tt.b
		if err := b.Check(); err == nil && b.Value != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v -> %q, %v", tt.b, b.Value, err)
		}
	}
}

func FuzzBan(f *testing.F) {
	f.Add(BanAddress, "10.0.0.0/8", "10.1.2.3:5")
	f.Add(BanClient, "x", "")
	f.Fuzz(func(t *testing.T, kind, value, remote string) {
		b := NewBans()
		x := Ban{Kind: kind, Namespace: "ns", Value: value}
		b.Set([]Ban{x})
		b.Address(remote, noon)
		if x.Check() == nil && x.Kind == BanClient && b.Device(Key{"ns", value}, "", noon) == nil {
			t.Errorf("%+v bans nobody", x)
		}
	})
}

func BenchmarkTop(b *testing.B) {
	top := NewTop(512, time.Minute)
	for i := range b.N {
		top.Add(key(i%10_000), 1, noon)
	}
}

// A device that is forgotten leaves nothing, and nothing of others goes with it.
func TestForget_OneDevice(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l, top := NewLog(4, 100), NewTop(8, time.Minute)
	gone, stays := Key{"cars", "a"}, Key{"cars", "b"}
	for i := range 3 {
		for _, k := range []Key{gone, stays} {
			l.Add(k, Event{At: at.Add(time.Duration(i) * time.Second)})
			top.Add(k, 1, at)
		}
	}
	if l.Forget(gone, true) != 3 || top.Forget(gone, true) != 1 || len(l.Of(gone)) != 3 {
		t.Error("it was to be counted only")
	}
	if l.Forget(gone, false) != 3 || top.Forget(gone, false) != 1 || l.Forget(gone, false) != 0 || top.Forget(gone, false) != 0 {
		t.Error("it is not forgotten once")
	}
	list, _ := top.Most(8, at)
	if len(l.Of(gone)) > 0 || len(l.Of(stays)) != 3 || l.Events() != 3 || len(list) != 1 || list[0].Key != stays || list[0].Count != 3 {
		t.Errorf("left %d, %d events, top %v", len(l.Of(gone)), l.Events(), list)
	}
	if got := top.Add(Key{"cars", "c"}, 1, at); got != 1 {
		t.Errorf("another begins with %d", got)
	}
}
