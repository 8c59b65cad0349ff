package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Who follows gets what is kept and what comes, once each, and goes on where it was.
func TestEvents_Follow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	events := &Events{}
	events.Emit("drill", "q-1", "first")
	s := fixture(t, newFake(), func(o *Options) { o.Socket, o.Events = path, events })
	running(t, s)
	r := remote(t, Address{Socket: path})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	listen := func(after uint64, until string) uint64 {
		t.Helper()
		one, stop := context.WithCancel(ctx)
		defer stop()
		after, _ = r.Follow(one, "events", after, func(e Event) {
			if e.Kind != "drill" {
				return // the server looks, too
			}
			got = append(got, e.Text)
			switch e.Text {
			case until:
				stop()
			case "first":
				events.Emit("drill", "q-1", "second")
			}
		})
		return after
	}
	after := listen(0, "second")
	events.Emit("drill", "q-1", "third")
	after = listen(after, "third")
	if want := "first second third"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
	if after >= 1000 {
		t.Fatal("more events than there can be")
	}
	if kept, _ := events.after(1 << 40); len(kept) == 0 {
		t.Error("who knows a number of the run before gets nothing")
	}
	for range 2 * keptEvents {
		events.Emit("x", "", "")
	}
	if kept, _ := events.after(0); len(kept) != keptEvents {
		t.Errorf("%d are kept", len(kept))
	}
}

// So many may listen under a name and at a node; who does not read, or whose token is revoked, listens no longer.
func TestEvents_Listeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fixture(t, newFake())
		var revoked atomic.Bool
		listen := func(name string, read bool) (status string, gone func() bool, hangUp func()) {
			here, there := net.Pipe()
			var ended atomic.Bool
			srv := s.httpServer(s.api.handler(func(*http.Request) (caller, *Problem) {
				if revoked.Load() {
					return caller{}, problem(401, ProblemToken, "", "it is not known")
				}
				return caller{name: name, role: RoleViewer}, nil
			}))
			l := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{}), addr: there.LocalAddr()}
			l.conns <- there
			srv.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					ended.Store(true)
					_ = l.Close()
				}
			}
			go func() { _ = srv.Serve(l) }()
			if _, err := io.WriteString(here, "GET /v1/events HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(here)
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if read {
				go func() { _, _ = io.Copy(io.Discard, in) }()
			}
			return line, ended.Load, func() { _ = here.Close() }
		}
		var hangUps []func()
		for range streamsEach {
			line, _, hangUp := listen("alice", true)
			if hangUps = append(hangUps, hangUp); !strings.Contains(line, "200") {
				t.Fatal(line)
			}
		}
		line, _, hangUp := listen("alice", true)
		if hangUps = append(hangUps, hangUp); !strings.Contains(line, "429") {
			t.Errorf("one more than may: %s", line)
		}
		_, slow, hangUp := listen("bob", false)
		hangUps = append(hangUps, hangUp)
		time.Sleep(3 * heartbeat)
		synctest.Wait()
		if !slow() || s.streams.slow.Load() != 1 || s.streams.count() != streamsEach {
			t.Errorf("who does not read: gone %v, %d counted, %d listen", slow(), s.streams.slow.Load(), s.streams.count())
		}
		if n := s.streams.refused.Load(); n != 1 {
			t.Errorf("%d were refused", n)
		}
		revoked.Store(true)
		time.Sleep(heartbeat)
		synctest.Wait()
		if n := s.streams.count(); n != 0 {
			t.Errorf("%d listen by a token that was revoked", n)
		}
		for _, end := range hangUps {
			end()
		}
		synctest.Wait()
	})
}

// A region that is gone is the one thing wrong, with since when, what is left to decide, and what to type.
func TestStatus_RegionGone(t *testing.T) {
	h := RegionHome{Home: "eu", Region: "us", Role: "standby", Host: "eu", Mode: "manual", DownAfterSeconds: 10, Sessions: 500_000, FleetSeconds: 100,
		Voters: []RegionVoter{{Name: "eu", Votes: true, HeardSeconds: 42}, {Name: "w1", Votes: true, HeardSeconds: 0.5}}}
	tr := h.gone(noon)
	if tr == nil || !noon.Add(-42*time.Second).Equal(tr.Since) || tr.Next != "causeway ctl region failover eu --dry-run" ||
		!strings.HasPrefix(tr.Summary, "region eu is gone: 2 of 3 votes are heard without it, 500000 sessions are in the copy here, about 1m40s until") {
		t.Errorf("%+v", tr)
	}
	h.Mode = "auto"
	if tr := h.gone(noon); tr == nil || !strings.HasSuffix(tr.Summary, "the voters decide") {
		t.Errorf("%+v", tr)
	}
	h.Voters[1].HeardSeconds = 42
	if tr := h.gone(noon); tr == nil || !strings.HasSuffix(tr.Summary, "no majority is left to decide") || !strings.Contains(tr.Next, "--force") {
		t.Errorf("nobody is left: %+v", tr)
	}
	h.Held = true
	if tr := h.gone(noon); tr == nil || tr.Next != "causeway ctl region resume eu" || !strings.Contains(tr.Summary, "an operator stopped the home here") {
		t.Errorf("a fence keeps it from being taken over: %+v", tr)
	}
	h.Voters[0].HeardSeconds = 9
	if tr := h.gone(noon); tr != nil {
		t.Errorf("%+v", tr)
	}
}

// A fence is what is wrong until it is taken back, also after another region took the home over.
func TestStatus_Fenced(t *testing.T) {
	h := RegionHome{Home: "eu", Region: "eu", Role: "host", Host: "eu", Standing: "held", Held: true, Act: &RegionAct{Action: "fence", Began: noon}}
	later := noon.Add(time.Hour)
	if tr := h.stopped(later); tr == nil || tr.Next != "causeway ctl region resume eu" || !tr.Since.Equal(noon) {
		t.Errorf("%+v", tr)
	}
	if tr := h.barred(later); tr != nil {
		t.Errorf("a host: %+v", tr)
	}
	h.Role, h.Host = "standby", "us"
	if tr := h.stopped(later); tr != nil {
		t.Errorf("a standby: %+v", tr)
	}
	if tr := h.barred(later); tr == nil || tr.Next != "causeway ctl region resume eu" || !strings.Contains(tr.Summary, "region us serves it") {
		t.Errorf("%+v", tr)
	}
	h.Held = false
	if tr := h.barred(later); tr != nil {
		t.Errorf("it was taken back: %+v", tr)
	}
}
