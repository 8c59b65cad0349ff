package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/internal/trial"
)

// Small regions of one node each publish to a hub and get commands from it. All their links to it
// go and come.
func TestLab_Hub(t *testing.T) {
	leaves, flaps, away := 5, 1, 2*time.Second
	if *wholeLab {
		leaves, flaps, away = 20, 5, 6*time.Second
	}
	w, cables := hub(t, leaves)
	for range flaps {
		before := hubUse(t, w.tr.Node("hub"))
		at := time.Now()
		var passed int64
		for _, c := range cables {
			c.cut()
			passed -= c.bytes.Load()
		}
		time.Sleep(away)
		for _, c := range cables {
			passed += c.bytes.Load()
			c.heal()
		}
		if passed > int64(leaves)*2*1500 { // a packet each way was past the check
			t.Errorf("%d bytes passed while the links were cut", passed)
		}
		took := w.caughtUp("after the flap")
		after := hubUse(t, w.tr.Node("hub"))
		t.Logf("%d links cut for %v: %v to a message published since at the last of them; the hub used %d MiB and %.0f%% of a processor",
			leaves, away, took.Round(time.Millisecond), after.memory>>20, 100*(after.cpu-before.cpu).Seconds()/time.Since(at).Seconds())
	}
	w.finish()
}

// hub is a hub and leaves on loopback, with a cable from each leaf to it.
func hub(t *testing.T, leaves int) (*wide, []*relay) {
	t.Helper()
	w := newWide(t)
	w.pace = 1
	var cables []*relay
	o := trial.Options{
		Linked: func(_, b string) bool { return b == "hub" },
		LinkVia: func(_, _, address string) string {
			cables = append(cables, newRelay(t, address))
			return cables[len(cables)-1].addr()
		},
	}
	for i := range leaves {
		o.Regions = append(o.Regions, fmt.Sprintf("leaf%d", i+1))
	}
	o.Regions = append(o.Regions, "hub")
	w.tr = start(t, o)
	for _, leaf := range o.Regions[:leaves] {
		w.stream(leaf, "hub", "up/"+leaf)
		w.stream("hub", leaf, "down/"+leaf)
	}
	w.load()
	w.caughtUp("at the start")
	return w, cables
}

// use is what a process has used.
type use struct {
	memory int64 // resident now, bytes
	cpu    time.Duration
}

func hubUse(t *testing.T, n *trial.Node) (u use) {
	t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	const tick = time.Second / 100 // USER_HZ
	number := func(s string) int64 { v, _ := strconv.ParseInt(s, 10, 64); return v }
	u.memory = number(strings.Fields(string(statm))[1]) * int64(os.Getpagesize())
	f := strings.Fields(string(stat[slices.Index(stat, ')')+1:])) // from the third field on
	u.cpu = time.Duration(number(f[11])+number(f[12])) * tick
	return u
}
