package app_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"causeway/internal/app"
	"causeway/internal/health"
	"causeway/internal/home"
	"causeway/internal/takeover/agent"
	meshtls "causeway/tls"
)

// pair are two regions, of which us stands by eu. Their links have fixed ports, so that a region that comes back is
// found where it was.
func pair(t *testing.T) (eu, us string) {
	t.Helper()
	ca, err := meshtls.CreateCA(filepath.Join(t.TempDir(), "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yaml := func(name, peer, dial string) string {
		d := t.TempDir()
		is, err := meshtls.Issue(ca, meshtls.Identity{Region: name, Node: name + "-1"}, time.Hour)
		if err == nil {
			_, err = is.Write(d, "node", false)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`
region: %s
node: %[1]s-1
data_dir: %[2]s
identity: { cert: %[3]s/node.pem, key: %[3]s/node-key.pem, ca: %[3]s/ca.pem }
listeners: [ { name: mqtt, type: mqtt, listen: "127.0.0.1:0", auth: [anonymous] } ]
admin: { socket: %[3]s/s }
link: { listen: "127.0.0.1:0", listen_tcp: "" }
links: [ { peer: %[4]s %[5]s } ]
regions: [ { name: eu }, { name: us, standby_of: [eu] } ]
takeover: { mode: manual, down_after: 3s, will_grace: 1s }
stop_notice: 0s
`, name, filepath.Join(d, "data"), d, peer, dial)
	}
	return yaml("eu", "us", `, dial: ["udp://%s"]`), yaml("us", "eu", "")
}

// fenced has a region serve with a lease only.
func fenced(yaml string) string {
	return strings.Replace(yaml, "mode: manual,", "mode: manual, isolation: self-fence,", 1)
}

// session connects a device and says whether its session was there.
func session(t *testing.T, r *region, id string, got chan string) (c mqtt.Client, present bool) {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + r.Addr("mqtt").String()).SetClientID(id).SetCleanSession(false).SetConnectTimeout(patience).SetAutoReconnect(false)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
	c = mqtt.NewClient(o)
	tok := c.Connect().(*mqtt.ConnectToken)
	if !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatalf("connect %s: %v", id, tok.Error())
	}
	return c, tok.SessionPresent()
}

// order has a region's agent do something and waits until holds.
func order(t *testing.T, r *region, a agent.Action, o agent.Order, holds func() bool) {
	t.Helper()
	await(t, string(a)+" to be begun", func() bool {
		_, err := r.Decider().Begin(context.Background(), a, o)
		if err != nil && !agent.IsElsewhere(err) { // the node has only begun and leads nothing yet
			t.Fatalf("%s: %v", a, err)
		}
		return err == nil
	})
	await(t, string(a), holds)
}

// A region that begins with standbys in its file may be one that lost all its disks: its home is founded, and it is ready,
// once the others said that they never heard of it, or by an operator's word. Standbys are named when one of them is there.
func TestFounding_WaitsForTheOtherRegionOrAnOperator(t *testing.T) {
	euFile, usFile := pair(t)
	us := startFollower(t, usFile)
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	file := fmt.Sprintf(euFile, us.Links().Endpoint().Addr())
	us.stop()
	eu := startFollower(t, file)
	defer eu.stop()
	await(t, "the agent to say why the home is not founded", func() bool {
		list := eu.Decider().Homes()
		return len(list) > 0 && strings.Contains(list[0].Reason, "0 of us have said that they never heard of it")
	})
	if ok, _ := eu.Ready(); ok || eu.Copy("eu").ID() != "" {
		t.Error("it is founded, or ready, and nobody was asked")
	}
	order(t, eu, agent.Resume, agent.Order{Home: "eu", Force: true, By: "test"}, func() bool { ok, _ := eu.Ready(); return ok })
	if c := eu.Copy("eu"); c.ID() != "eu" || len(c.Takeover().Standbys) > 0 {
		t.Errorf("home %q has the standbys %v", c.ID(), c.Takeover().Standbys)
	}
}

// A region that serves gets standbys by its node file. Until they answer it goes on as before; then its log names them, and
// there is no moment in which it is fenced.
func TestAdopting_ServedUntilVotersAnswer(t *testing.T) {
	euFile, usFile := pair(t)
	euFile, usFile = fenced(euFile), fenced(usFile)
	us := startFollower(t, usFile)
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	file := fmt.Sprintf(euFile, us.Links().Endpoint().Addr())
	us.stop()
	before := regexp.MustCompile(`(?m)^(regions|takeover):.*\n`).ReplaceAllString(file, "")
	start(t, before, app.Options{}).stop()

	eu := start(t, file, app.Options{})
	await(t, "the agent to be at work", eu.Decider().AtWork)
	got := make(chan string, 1)
	dev, _ := session(t, eu, "dev", got)
	defer dev.Disconnect(0)
	if tok := dev.Subscribe("q/#", 1, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	publish(t, eu, "q/a", "alone")
	want(t, got, "alone")
	if n := len(eu.Copy("eu").Takeover().Standbys); n > 0 {
		t.Errorf("%d standbys are named although no voter but this region answers", n)
	}

	us = startFollower(t, usFile)
	defer us.stop()
	var address net.Addr
	await(t, "the link's socket", func() bool { address = us.Links().Endpoint().Addr(); return address != nil })
	eu.stop()
	eu = start(t, fmt.Sprintf(euFile, address), app.Options{})
	defer eu.stop()
	await(t, "the log to name the standby", func() bool {
		if c := eu.Copy("eu"); c != nil && len(c.Takeover().Standbys) > 0 {
			return true
		}
		if !eu.Replica().Fresh() {
			t.Error("fenced before the log names a standby")
		}
		return false
	})
	await(t, "the lease", func() bool { ok, _ := eu.Ready(); return ok })
	publish(t, eu, "q/a", "with a standby")
}

// A region of one node loses its lease: it tells load balancers, and its devices, of which one only listens, do not stay
// with it while another region may serve them. The lease comes back, and they are served again.
func TestIsolated_ARegionOfOneNodeLetsItsDevicesGo(t *testing.T) {
	euFile, usFile := pair(t)
	us := startFollower(t, fenced(usFile))
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	address := us.Links().Endpoint().Addr().String()
	eu := start(t, fmt.Sprintf(fenced(euFile), address), app.Options{})
	got := make(chan string, 100)
	dev, _ := session(t, eu, "dev", got)
	if tok := dev.Subscribe("q/#", 1, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	await(t, "the log to name the standby", func() bool { return len(eu.Copy("eu").Takeover().Standbys) > 0 })
	us.stop() // and with it eu's majority
	await(t, "the node to say that it is isolated", func() bool { return eu.Health() == health.Isolated })
	await(t, "the device to be let go", func() bool { return !dev.IsConnectionOpen() })

	startFollower(t, strings.Replace(fenced(usFile), `link: { listen: "127.0.0.1:0"`, fmt.Sprintf("link: { listen: %q", address), 1))
	await(t, "the region to be ready again", func() bool { ok, _ := eu.Ready(); return ok })
	dev, present := session(t, eu, "dev", got)
	if !present {
		t.Error("the session was not there")
	}
	publish(t, eu, "q/a", "again")
	want(t, got, "again")
	dev.Disconnect(0)
}

// An operator fences a region: load balancers hear at once, and why, and its devices do not stay.
func TestFence_LoadBalancersHearAtOnce(t *testing.T) {
	euFile, usFile := pair(t)
	us := startFollower(t, usFile)
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	eu := start(t, fmt.Sprintf(euFile, us.Links().Endpoint().Addr()), app.Options{})
	await(t, "the log to name the standby", func() bool { return len(eu.Copy("eu").Takeover().Standbys) > 0 })
	dev, _ := session(t, eu, "dev", make(chan string, 1))
	defer dev.Disconnect(0)
	await(t, "the region to be ready", func() bool { ok, _ := eu.Ready(); return ok })
	var between []health.State
	order(t, eu, agent.Fence, agent.Order{Home: "eu", By: "test"}, func() bool {
		now := eu.Health()
		if now != health.Ready && now != health.Fenced {
			between = append(between, now)
		}
		return now == health.Fenced
	})
	if ok, why := eu.Ready(); ok || !strings.Contains(why, "operator") || len(between) > 0 {
		t.Errorf("ready %v: %s; before it was %v", ok, why, between)
	}
	await(t, "the device to be let go", func() bool { return !dev.IsConnectionOpen() })
	order(t, eu, agent.Resume, agent.Order{Home: "eu", By: "test"}, func() bool { ok, _ := eu.Ready(); return ok })
}

// A region stops and its standby serves its sessions: a device finds its session and what was queued, devices of both
// homes reach each other over the link between them, and the region that comes back follows, and gets its home back.
func TestRegionLost_TheStandbyServesItsSessions(t *testing.T) {
	euFile, usFile := pair(t)
	us := start(t, usFile, app.Options{})
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	euFile = fmt.Sprintf(euFile, us.Links().Endpoint().Addr())
	eu := start(t, euFile, app.Options{})

	got := make(chan string, 100)
	dev, _ := session(t, eu, "dev", got)
	if tok := dev.Subscribe("q/#", 1, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	dev.Disconnect(0)
	publish(t, eu, "q/a", "queued")
	await(t, "the standby to have it", func() bool {
		c := us.Copy("eu")
		return c != nil && c.Position().Records > 0 && c.Position() == eu.State().Position()
	})
	eu.stop()
	order(t, us, agent.Failover, agent.Order{Home: "eu", Force: true}, func() bool { return us.Hosts("eu") })

	dev, present := session(t, us, "dev", got)
	if !present {
		t.Error("the session was not there")
	}
	want(t, got, "queued")
	await(t, "interest to cross", func() bool { p, _ := us.State().Peer("eu"); return p.Filters > 0 })
	publish(t, us, "q/b", "from the other home")
	want(t, got, "from the other home")
	dev.Disconnect(0)

	back := startFollower(t, euFile)
	await(t, "the region that is back to follow", func() bool {
		c := back.Copy("eu")
		return c != nil && c.Epoch() == home.Epoch{Number: 2, Host: "us"} && c.Position().Records > 0
	})
	if back.Hosts("eu") {
		t.Error("two regions serve the home")
	}
	if c, err := back.Node().Cluster(); err != nil || len(c.Nodes) != 1 || c.Nodes[0].Node == us.Node().Status().Node {
		t.Errorf("the nodes of the region that serves are taken for its own: %+v, %v", c.Nodes, err)
	}
	await(t, "a switchover to be taken", func() bool {
		_, err := us.Decider().Begin(context.Background(), agent.Switchover, agent.Order{Home: "eu", To: "eu"})
		return err == nil
	})
	await(t, "the home to be back", func() bool { return back.Hosts("eu") })
	if _, present := session(t, back, "dev", got); !present {
		t.Error("the session did not come back with its home")
	}
}

// startFollower starts a node whose home is served elsewhere: it is not ready.
func startFollower(t *testing.T, yaml string) *region { return startUntil(t, yaml, app.Options{}, nil) }

func publish(t *testing.T, r *region, topic, payload string) {
	t.Helper()
	c := client(t, r.Addr("mqtt"), "pub", true)
	defer c.Disconnect(0)
	if tok := c.Publish(topic, 1, false, payload); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
}

func want(t *testing.T, got chan string, payload string) {
	t.Helper()
	select {
	case m := <-got:
		if m != payload {
			t.Fatalf("got %q, want %q", m, payload)
		}
	case <-time.After(patience):
		t.Fatalf("%q did not come", payload)
	}
}

// The home is handed over and its region lost before the standby heard the last of it, which
// is promoted as it is: the copy that comes back stands by, and is set aside before another
// takes its place.
func TestHandedOver_WhatTheHeirLacksIsKept(t *testing.T) {
	euFile, usFile := pair(t)
	us := start(t, usFile, app.Options{})
	euAt := func() string {
		await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
		return fmt.Sprintf(euFile, us.Links().Endpoint().Addr())
	}
	eu := start(t, euAt(), app.Options{})
	got := make(chan string, 100)
	dev, _ := session(t, eu, "dev", got)
	if tok := dev.Subscribe("q/#", 1, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	dev.Disconnect(0)
	await(t, "the standby to have it", func() bool {
		c := us.Copy("eu")
		return c != nil && c.Position().Records > 0 && c.Position() == eu.State().Position()
	})
	us.stop()
	publish(t, eu, "q/a", "only in eu")
	if err := eu.Hand("eu", "us"); err != nil {
		t.Fatal(err)
	}
	eu.stop()
	us = start(t, usFile, app.Options{})
	order(t, us, agent.Failover, agent.Order{Home: "eu", Force: true}, func() bool { return us.Hosts("eu") })
	back := startFollower(t, euAt())
	await(t, "the copy to be set aside", func() bool { n, err := back.SetAside("eu"); return err == nil && n == 1 })
	await(t, "the region that is back to follow", func() bool {
		c := back.Copy("eu")
		return c != nil && c.Epoch().Host == "us"
	})
}

// The home is moved, and its link to a foreign broker stays behind, with a copy that stands by and has the same spool. It
// sends nothing, also after a restart; what a device of the home publishes meanwhile goes to the broker once, when the home
// is back.
func TestForeignLink_WaitsForItsHome(t *testing.T) {
	old := start(t, fmt.Sprintf("region: old\ndata_dir: %s\nlisteners: [ { name: mqtt, type: mqtt, listen: \"127.0.0.1:0\", auth: [anonymous] } ]\nadmin: { socket: %s/s }\nstop_notice: 0s\n",
		filepath.Join(t.TempDir(), "data"), t.TempDir()), app.Options{})
	got := make(chan string, 100)
	sub, _ := session(t, old, "sub", got)
	defer sub.Disconnect(0)
	if tok := sub.Subscribe("q/#", 2, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	euFile, usFile := pair(t)
	us := start(t, usFile, app.Options{})
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	euFile = strings.Replace(fmt.Sprintf(euFile, us.Links().Endpoint().Addr()), "links: [", fmt.Sprintf("links: [ { name: old, kind: mqtt, address: [%q], direction: out, filters: [\"q/#\"], canary: \"off\" },", "mqtt://"+old.Addr("mqtt").String()), 1)
	eu := start(t, euFile, app.Options{})
	say := func(r *region, payload string) {
		t.Helper()
		dev, _ := session(t, r, "dev", make(chan string, 1))
		defer dev.Disconnect(0)
		if tok := dev.Publish("q/a", 1, false, payload); !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	same := func(eu *region) func() bool {
		return func() bool {
			a, b := eu.Copy("eu"), us.Copy("eu")
			return a != nil && b != nil && a.Position().Records > 0 && a.Position() == b.Position()
		}
	}
	await(t, "the broker to be known", func() bool { p, _ := eu.State().Peer("old"); return p.Filters > 0 })
	say(eu, "one")
	want(t, got, "one")
	await(t, "the acknowledgement to be noted", func() bool { p, _ := eu.State().Peer("old"); return p.Spooled == 0 })
	await(t, "the standby to have it", same(eu))
	move := func(from, to *region, name string) {
		t.Helper()
		await(t, "a switchover to be taken", func() bool {
			_, err := from.Decider().Begin(context.Background(), agent.Switchover, agent.Order{Home: "eu", To: name})
			return err == nil
		})
		await(t, "the home to be served by "+name, func() bool { return to.Hosts("eu") })
	}
	move(eu, us, "us")
	say(us, "two")
	for range 2 {
		await(t, "the copy that stands by to have it", same(eu))
		eu.stop()
		eu = startFollower(t, euFile)
	}
	await(t, "the copy that stands by to have it", same(eu))
	if p, _ := us.Copy("eu").Peer("old"); p.Spooled != 1 {
		t.Errorf("%d messages wait for the broker", p.Spooled)
	}
	move(us, eu, "eu")
	say(eu, "three")
	want(t, got, "two")
	want(t, got, "three")
}
