package app_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/home"
	"causeway/internal/supervise"
)

// bombs make parts of a node panic, as often as wanted.
type bombs struct {
	mu   sync.Mutex
	left map[string]int
	lit  map[string]chan struct{} // closed when a part is to panic
}

func newBombs() *bombs { return &bombs{left: map[string]int{}, lit: map[string]chan struct{}{}} }

// light has a part panic n times, the first time while it runs.
func (b *bombs) light(part string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left[part] = n
	close(b.fuse(part))
}

func (b *bombs) fuse(part string) chan struct{} {
	if b.lit[part] == nil {
		b.lit[part] = make(chan struct{})
	}
	return b.lit[part]
}

// burned takes one panic.
func (b *bombs) burned(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left[part]--; b.left[part] == 0 {
		b.lit[part] = nil
	}
}

// part is app.Options.Part.
func (b *bombs) part(name string, run supervise.Func) supervise.Func {
	return func(ctx context.Context) error {
		b.mu.Lock()
		fuse := b.fuse(name)
		b.mu.Unlock()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		select {
		case err := <-ended:
			return err
		case <-fuse:
			stop()
			<-ended
			b.burned(name)
			panic("planted in " + name)
		}
	}
}

// crashing is a pair of regions of which eu has bombs, and a device at eu that subscribes to what both publish.
func crashing(t *testing.T, o app.Options) (eu, us *region, b *bombs, call func(method, path, body string, into any), got chan string) {
	t.Helper()
	euFile, usFile := pair(t)
	handover := func(yaml string) string { return yaml + "handover: { enabled: true }\n" }
	us = start(t, handover(usFile), app.Options{})
	await(t, "the link's socket", func() bool { return us.Links().Endpoint().Addr() != nil })
	b = newBombs()
	o.Part = b.part
	euFile = handover(fmt.Sprintf(euFile, us.Links().Endpoint().Addr()))
	eu = start(t, euFile, o)
	got = make(chan string, 100)
	dev, _ := session(t, eu, "dev", got)
	if tok := dev.Subscribe("q/#", 2, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	t.Cleanup(func() {
		if !dev.IsConnectionOpen() {
			t.Error("the device lost its connection")
		}
		dev.Disconnect(0)
	})
	await(t, "interest to cross", func() bool { p, _ := us.State().Peer("eu"); return p.Filters > 0 })
	return eu, us, b, caller(t, regexp.MustCompile(`socket: (\S+)`).FindStringSubmatch(euFile)[1]), got
}

// only is the one message that came; another one would be one too many.
func only(t *testing.T, got chan string, payload string) {
	t.Helper()
	want(t, got, payload)
	if len(got) > 0 {
		t.Errorf("%q came, too", <-got)
	}
}

// Any part of a node that panics is started again and counted. The node goes on: its device stays connected and hears what
// is published here and in the other region, once each.
func TestCrash_APartIsStartedAgain(t *testing.T) {
	eu, us, b, _, got := crashing(t, app.Options{})
	for _, part := range []string{"link us", "links", "link port", "shipping to us", "shipping choice", "shipping", "set aside", "takeover eu", "takeover", "votes",
		"handover", "office", "hosting", "heir", "rank of peers", "objects", "admin", "readiness", "backups", "rollout", "devices", "admission", "evacuation", "health", "certificates"} {
		await(t, part+" to run", func() bool { return eu.Service(part).State == "running" })
		before := eu.Service(part)
		b.light(part, 2)
		await(t, part+" to be started again", func() bool {
			s := eu.Service(part)
			return s.State == "running" && s.Restarts >= before.Restarts+2
		})
		if s := eu.Service(part); s.Panics != before.Panics+2 || s.LastError != "panic: planted in "+part {
			t.Errorf("%+v", s)
		}
		publish(t, us, "q/a", part)
		only(t, got, part)
	}
}

// What decides for the region fails while it is at work: it is started again with all that belongs to it. Half of it went on
// before, the other half was never started again, and the region stayed without a lease.
func TestCrash_WhatDecidesIsAtWorkAgain(t *testing.T) {
	eu, us, b, _, got := crashing(t, app.Options{})
	await(t, "the agent to be at work", eu.Decider().AtWork)
	b.light("takeover at work", 2)
	await(t, "it to be started again", func() bool { return eu.Service("takeover").Restarts == 2 && eu.Decider().AtWork() })
	publish(t, us, "q/a", "after")
	only(t, got, "after")
}

// A part that panics again and again is isolated. Status and readiness name it with the next command; a device and the
// rest of the links do not notice; and an operator who removed the cause has it tried at once.
func TestCrashLoop_IsolatesThePart(t *testing.T) {
	eu, us, b, call, got := crashing(t, app.Options{Backoff: supervise.Backoff{Min: time.Minute, Max: time.Minute}})
	b.light("link us", 2)
	await(t, "the link to be isolated", func() bool { return eu.Service("link us").State == "isolated" })
	var st admin.Status
	call("GET", "/v1/status", "", &st)
	if st.State.State != "ready" || st.Trouble == nil || !strings.Contains(st.Trouble.Summary, "the service link us is isolated") ||
		!strings.Contains(st.Trouble.Next, `causeway ctl services restart "link us"`) {
		t.Errorf("%s: %+v", st.State.State, st.Trouble)
	}
	await(t, "readiness to name it", func() bool {
		var r admin.Readiness
		call("GET", "/v1/readiness?refresh=true", "", &r)
		for _, i := range r.Items {
			if i.Check == "services" {
				return i.State == "fail" && strings.Contains(i.Reason, "link us") && strings.Contains(i.Fix, "services restart")
			}
		}
		return false
	})
	publish(t, eu, "q/a", "here") // and the standby gets it: shipping has a link of its own
	only(t, got, "here")
	await(t, "the standby to have it", func() bool {
		c := us.Copy("eu")
		return c != nil && c.Position() == eu.State().Position()
	})
	publish(t, us, "q/b", "meanwhile")

	b.mu.Lock()
	b.left["link us"], b.lit["link us"] = 0, nil
	b.mu.Unlock()
	call("POST", "/v1/services/link%20us/restart", "", &admin.Change{})
	want(t, got, "meanwhile")
	if s := eu.Service("link us"); s.State != "running" {
		t.Errorf("%+v", s)
	}
}

// boobyTrapped are connections of devices that panic as they are read, once.
type boobyTrapped struct {
	net.Listener
	armed *atomic.Bool
}

type trappedConn struct {
	net.Conn
	armed *atomic.Bool
}

func (l boobyTrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return trappedConn{c, l.armed}, err
}

func (c trappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if strings.Contains(string(b[:n]), "boom") && c.armed.Swap(false) {
		panic("planted in a connection")
	}
	return n, err
}

// A panic in a connection's goroutine costs that connection, and is counted.
func TestCrash_AConnectionIsOne(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var armed atomic.Bool
	eu, _, _, _, got := crashing(t, app.Options{Listeners: map[string]net.Listener{"mqtt": boobyTrapped{ln, &armed}}})
	bad := client(t, eu.Addr("mqtt"), "bad", true)
	armed.Store(true)
	bad.Publish("t/boom", 0, false, "x")
	await(t, "the connection to end", func() bool { return !bad.IsConnectionOpen() || eu.Service("connections").Panics > 0 })
	await(t, "it to be counted", func() bool {
		s := eu.Service("connections")
		return s.Panics == 1 && s.State == "contained" && strings.Contains(s.LastError, "planted in a connection")
	})
	publish(t, eu, "q/a", "others")
	only(t, got, "others")
}

// trappedSink panics as the home is applied, once.
type trappedSink struct {
	home.Sink
	armed *atomic.Bool
}

func (s trappedSink) Queued(k home.SessionKey, e home.SessionEpoch, o home.Owner) {
	if s.armed.Swap(false) {
		panic("planted in apply")
	}
	s.Sink.Queued(k, e, o)
}

// A panic while the home is applied costs that run of the home: it is opened anew from its disk, and what was acknowledged
// is there. What was being applied was committed, so it comes, and once.
func TestCrash_ApplyOpensTheHomeAnew(t *testing.T) {
	var armed atomic.Bool
	file := fmt.Sprintf("region: eu\ndata_dir: %s\nlisteners: [ { name: mqtt, type: mqtt, listen: \"127.0.0.1:0\", auth: [anonymous] } ]\nadmin: { socket: %s/s }\n", t.TempDir(), t.TempDir())
	eu := start(t, file, app.Options{Replica: func(o *app.ReplicaOptions) { o.Sink = trappedSink{o.Sink, &armed} }})
	got := make(chan string, 10)
	dev, _ := session(t, eu, "dev", got)
	if tok := dev.Subscribe("q/#", 2, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	pub, _ := session(t, eu, "pub", nil) // it does not send again what was not acknowledged
	if tok := pub.Publish("q/a", 2, false, "before"); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	want(t, got, "before")
	armed.Store(true)
	pub.Publish("q/a", 2, false, "in it") // it is not acknowledged by this connection
	await(t, "the home to be opened anew", func() bool { return eu.Service("home").Restarts == 1 })
	await(t, "the node to be ready", func() bool { ok, _ := eu.Ready(); return ok })
	if s := eu.Service("home"); !strings.Contains(s.LastError, "planted in apply") || s.Panics != 1 {
		t.Errorf("%+v", s)
	}
	dev, present := session(t, eu, "dev", got)
	defer dev.Disconnect(0)
	if !present {
		t.Error("the session was lost")
	}
	publish(t, eu, "q/a", "after")
	want(t, got, "in it")
	only(t, got, "after")
}

// A goroutine of a link to a foreign broker panics, twice: that link is started again and counted, and nobody else notices.
func TestCrash_AForeignLinkIsOne(t *testing.T) {
	file := fmt.Sprintf("region: eu\ndata_dir: %s\nlisteners: [ { name: mqtt, type: mqtt, listen: \"127.0.0.1:0\", auth: [anonymous] } ]\nadmin: { socket: %s/s }\n"+
		"links: [ { kind: mqtt, name: old, address: [\"mqtt://127.0.0.1:1\"], direction: out, filters: [\"q/#\"] } ]\n", t.TempDir(), t.TempDir())
	var dials atomic.Int32
	eu := start(t, file, app.Options{DialForeign: func(context.Context, string) (net.Conn, error) {
		if dials.Add(1) <= 2 {
			panic("planted in a dial")
		}
		return nil, errors.New("nobody listens there")
	}})
	got := make(chan string, 10)
	dev, _ := session(t, eu, "dev", got)
	defer dev.Disconnect(0)
	if tok := dev.Subscribe("q/#", 1, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	await(t, "the link to dial again", func() bool { return dials.Load() > 2 })
	if s := eu.Service("link old"); s.Panics != 2 || s.Restarts != 2 || s.State != supervise.StateRunning || s.LastError != "panic: planted in a dial" {
		t.Errorf("%+v", s)
	}
	if s := eu.Service("foreign links"); s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	publish(t, eu, "q/a", "here")
	only(t, got, "here")
}
