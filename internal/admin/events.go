package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Event is something that happened to the node or the region, in an operator's words.
type Event struct {
	N    uint64    `json:"n"` // counts from 1 since the node started
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // state, trouble, home, link, change, drill, evacuation, rebalance, ban
	What string    `json:"what"` // node, home, peer or whatever it is about
	Text string    `json:"text"`
}

// keptEvents is how many events a node remembers.
const keptEvents = 512

// Events are those of a node: the newest, and who listens for more. The zero value is ready.
type Events struct {
	mu     sync.Mutex
	list   []Event // the newest keptEvents, by N
	last   uint64
	more   chan struct{} // closed by the next event; nil: nobody waits
	closed bool
}

// Emit tells of something. It never blocks; it may be called from any goroutine.
func (e *Events) Emit(kind, what, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	e.list = append(e.list, Event{N: e.last, At: time.Now().UTC(), Kind: kind, What: what, Text: text})
	if over := len(e.list) - keptEvents; over > 0 {
		e.list = append(e.list[:0:0], e.list[over:]...)
	}
	e.wake()
}

func (e *Events) wake() {
	if e.more != nil {
		close(e.more)
		e.more = nil
	}
}

// close ends all who listen.
func (e *Events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.wake()
}

// after are the events above n, and what is closed when there are more; nil once there are none any more.
func (e *Events) after(n uint64) ([]Event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n > e.last { // of the node's run before
		n = 0
	}
	i := len(e.list)
	for i > 0 && e.list[i-1].N > n {
		i--
	}
	if e.closed {
		return e.list[i:len(e.list):len(e.list)], nil
	}
	if e.more == nil {
		e.more = make(chan struct{})
	}
	return e.list[i:len(e.list):len(e.list)], e.more
}

// After are the events above a number that are kept.
func (e *Events) After(n uint64) []Event {
	kept, _ := e.after(n)
	return kept
}

const (
	eventStream = "text/event-stream"
	heartbeat   = 15 * time.Second
)

// serveEvents answers with the events that are kept, or, to who accepts text/event-stream, with those
// and all that come. Last-Event-ID, or after, says what is known already.
func (a *api) serveEvents(w http.ResponseWriter, r *http.Request) {
	q, p := newQuery(r, []string{"after"})
	if p == nil {
		if q.number("after"); q.err != nil {
			p = q.err
		}
	}
	if p != nil {
		writeProblem(w, r, p)
		return
	}
	after := q.number("after")
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = last
	}
	if !strings.Contains(r.Header.Get("Accept"), eventStream) {
		a.reply(w, r, Page[Event]{Items: list(a.events.After(after))}, nil)
		return
	}
	who, _ := r.Context().Value(callerKey{}).(admitted)
	if p := a.streams.enter(who.name); p != nil {
		writeProblem(w, r, p)
		return
	}
	defer a.streams.leave(who.name)
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("Cache-Control", "no-store")
	a.stream(r.Context(), w, after, func() bool { return authorize(who.now(r), RoleViewer) == nil })
}

// stream sends events until ctx ends, the listener does not read, or it may listen no longer.
func (a *api) stream(ctx context.Context, w http.ResponseWriter, after uint64, may func() bool) {
	to := http.NewResponseController(w)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	beat := ": here\n\n"
	for {
		kept, more := a.events.after(after)
		for _, e := range kept {
			b, err := json.Marshal(e)
			if err != nil {
				return
			}
			beat += fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.N, e.Kind, b)
			after = e.N
		}
		_ = to.SetWriteDeadline(time.Now().Add(heartbeat))
		_, err := io.WriteString(w, beat)
		if err = errors.Join(err, to.Flush()); err != nil || more == nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				a.streams.slow.Add(1)
			}
			return
		}
		beat = ""
		select {
		case <-more:
		case <-tick.C:
			if !may() {
				return // its token was revoked
			}
			beat = ": here\n\n"
		case <-ctx.Done():
			return
		}
	}
}

// Bounds of who listens for events at a time: of one name, and at a node.
const (
	streamsEach = 8
	streamsMost = 64
)

// streams are those who listen for events.
type streams struct {
	refused, slow atomic.Int64 // not let in; cut off since they did not read

	mu   sync.Mutex
	open map[string]int // by name
	all  int
}

// enter counts a listener, or says why there are too many.
func (s *streams) enter(name string) *Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name] >= streamsEach || s.all >= streamsMost {
		s.refused.Add(1)
		return problem(http.StatusTooManyRequests, ProblemBusy, "end one of them, or read /v1/events without Accept: "+eventStream,
			"%d listen for events as %s and %d in all; at most %d and %d may", s.open[name], name, s.all, streamsEach, streamsMost)
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[name]++
	s.all++
	return nil
}

func (s *streams) leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.open[name]--; s.open[name] == 0 {
		delete(s.open, name)
	}
}

// count is how many listen now.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// Follow calls each for every event above a number, until ctx ends or the node goes. It returns the
// newest number, to go on from.
func (r *Remote) Follow(ctx context.Context, feature string, after uint64, each func(Event)) (uint64, error) {
	req, err := r.request(ctx, http.MethodGet, Path("events"), url.Values{"after": {strconv.FormatUint(after, 10)}}, nil)
	if err != nil {
		return after, err
	}
	req.Header.Set("Accept", eventStream)
	endless := *r.client
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return after, r.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get(HeaderVersion) == "" {
		_, err := r.answer(resp, feature)
		return after, err
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		data, ok := strings.CutPrefix(in.Text(), "data: ")
		var e Event
		if ok && json.Unmarshal([]byte(data), &e) == nil {
			after = e.N
			each(e)
		}
	}
	return after, errors.Join(in.Err(), ctx.Err())
}

// changes is what watchEvents compares from one look to the next.
type changes struct {
	state, trouble string
	homes, links   map[string]string
	drills         map[string]string
}

// watchEvents turns what changes on the status page into events, until ctx ends.
func (s *Server) watchEvents(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before *changes
	for {
		now := s.look()
		if before != nil {
			s.tell(before, now)
		}
		before = now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) look() *changes {
	st := s.status()
	c := &changes{state: strings.TrimSuffix(st.State.State+": "+st.State.Reason, ": "), homes: map[string]string{}, links: map[string]string{}, drills: map[string]string{}}
	if st.Trouble != nil {
		c.trouble = st.Trouble.Summary + "; " + st.Trouble.Next
	}
	for _, h := range st.Homes {
		c.homes[h.ID] = fmt.Sprintf("%s here, served by %s at epoch %d", h.Role, h.Host, h.Epoch)
	}
	for _, l := range st.Links {
		c.links[l.Peer] = strings.TrimSuffix(l.State+": "+l.Reason, ": ")
	}
	if all, err := s.node.Drills(); err == nil {
		for _, d := range all {
			c.drills[d.ID] = d.Progress
		}
	}
	return c
}

// tell emits what is not as it was. A trouble is told by its beginning: figures in it change all the time.
func (s *Server) tell(before, now *changes) {
	if before.state != now.state {
		s.events.Emit("state", s.name, now.state)
	}
	if words(before.trouble) != words(now.trouble) {
		text := now.trouble
		if text == "" {
			text = "nothing is wrong any more"
		}
		s.events.Emit("trouble", s.name, text)
	}
	for kind, both := range map[string][2]map[string]string{"home": {before.homes, now.homes}, "link": {before.links, now.links}, "drill": {before.drills, now.drills}} {
		for what, text := range both[1] {
			if both[0][what] != text {
				s.events.Emit(kind, what, text)
			}
		}
	}
}

// words is a sentence without its figures.
func words(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, s)
}
