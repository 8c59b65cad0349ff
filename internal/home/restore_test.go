package home

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var errNoRow = errors.New("no such row")

// Get implements Rows.
func (s store) Get(key []byte) ([]byte, error) {
	if v, ok := s[string(key)]; ok {
		return v, nil
	}
	return nil, errNoRow
}

// ScanRange implements Rows.
func (s store) ScanRange(start, end []byte, fn func(k, v []byte) error) error {
	for _, k := range sortedKeys(s) {
		if k >= string(start) && k < string(end) {
			if err := fn([]byte(k), s[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// backup is the excerpt of a namespace as the home is now.
func (r *rig) backup(ns string) *Excerpt {
	r.t.Helper()
	all, picked := store{}, store{}
	twin := New()
	replay(r.t, twin, r.log)
	twin.Flush(all.put, all.del)
	p := Picker{Namespace: ns}
	for _, k := range sortedKeys(all) {
		if of, err := p.Picks([]byte(k), all[k]); err != nil {
			r.t.Fatal(err)
		} else if of {
			picked[k] = all[k]
		}
	}
	e, err := OpenExcerpt(picked, ns)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *rig) order(ns string, replace bool) uint64 {
	r.t.Helper()
	o := r.do(&Restore{Step: RestoreBegin, Namespace: ns, Backup: "b", Replace: replace, For: time.Minute})
	r.want("begin", o.Code, CodeOK)
	return uint64(o.Seq)
}

// part takes the next part; false: there is none.
func (r *rig) part(p *RestoreParts, ns string) (*Restore, bool) {
	r.t.Helper()
	at, _ := r.s.RestorationOf(ns)
	op, err := p.Next(&at)
	if err != nil {
		r.t.Fatal(err)
	}
	if op == nil {
		return nil, false
	}
	switch o := r.do(op); o.Code {
	case CodeUnknown:
		p.Forget()
	case CodeOK:
	default:
		r.t.Fatalf("part behind %+v: code %#x", at.At, o.Code)
	}
	return op, true
}

// restore runs an order to its end.
func (r *rig) restore(e *Excerpt, ns string, replace bool, max int) RestoreCounts {
	r.t.Helper()
	order, p := r.order(ns, replace), NewRestoreParts(e, max)
	for {
		if _, more := r.part(p, ns); !more {
			break
		}
	}
	r.want("done", r.do(&Restore{Step: RestoreDone, Namespace: ns, Order: order}).Count, 0)
	at, _ := r.s.RestorationOf(ns)
	r.want("done", at.Done, true)
	return at.Counts
}

// newSpaces is a home with sessions in two namespaces, at the level at which one can be restored.
func newSpaces(t *testing.T) *rig {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	return r
}

// loadsAgain flushes what changed since it was called last, and wants what is loaded to be the home.
func (r *rig) loadsAgain() {
	r.t.Helper()
	if r.kept == nil {
		r.kept = store{}
	}
	r.s.Flush(r.kept.put, r.kept.del)
	if !same(r.kept.load(r.t), r.s) {
		r.t.Fatal("loaded state differs")
	}
}

func (r *rig) attachIn(ns, id string, expiry uint32, w *Will) SessionEpoch {
	r.t.Helper()
	o := r.do(&Attach{Session: SessionKey{ns, id}, Expiry: expiry, Will: w, Window: 8})
	r.want("attach", o.Code, CodeOK)
	return o.Epoch
}

func (r *rig) subIn(ns, id string, e SessionEpoch, filter string, qos byte) {
	r.do(&Subscribe{Session: SessionKey{ns, id}, Epoch: e, Filters: []Subscription{{Filter: filter, QoS: qos}}})
}

func (r *rig) pubIn(ns, topic, payload string, qos byte) {
	r.do(&Publish{Session: SessionKey{Namespace: ns}, Topic: topic, Payload: []byte(payload), QoS: qos})
}

func (r *rig) keepIn(ns, topic, payload string) {
	r.do(&Publish{Session: SessionKey{Namespace: ns}, Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true})
}

func (r *rig) endIn(ns string, ids ...string) {
	for _, id := range ids {
		r.do(&EndSession{Session: SessionKey{ns, id}})
	}
}

func (r *rig) peekIn(ns, id string) (list []string) {
	for _, q := range r.s.Peek(SessionKey{ns, id}, 0, 1<<20) {
		list = append(list, fmt.Sprintf("%d:%s/%d%s", q.Ref, q.Message.Payload, q.QoS, map[bool]string{true: "r"}[q.Received]))
	}
	return list
}

func (r *rig) retainedIn(ns string) (list []string) {
	for _, x := range r.s.space(ns).retained.match("#") {
		if x.msg != nil {
			list = append(list, x.topic+"="+string(x.msg.Payload))
		}
	}
	return list
}

// A session is back as it was: what waits, once and in order, under the same packet ids, what the
// device has received of it, what it uses itself, what it subscribed to. Another namespace is as it
// was, and a second run does nothing.
func TestRestore_ASessionIsBackAsItWas(t *testing.T) {
	for _, max := range []int{1, 300, 1 << 20} {
		r := newSpaces(t)
		e := r.attachIn("ns", "dev", 3600, nil)
		r.subIn("ns", "dev", e, "x/#", 2)
		other := r.attachIn("", "dev", 3600, nil)
		r.subIn("", "dev", other, "x/#", 1)
		r.pubIn("", "x/y", "other", 1)
		for i := range 40 {
			r.pubIn("ns", "x/y", fmt.Sprint(i), byte(1+i%2))
		}
		dev := SessionKey{"ns", "dev"}
		r.do(&Ack{Session: dev, Epoch: e, Received: []Range{{4, 4}, {6, 6}}, Done: []Range{{1, 2}, {5, 5}}})
		r.do(&Publish{Session: dev, Epoch: e, PacketID: 9, Topic: "p", Payload: []byte("in"), QoS: 2})
		r.keepIn("ns", "state", "on")
		b, was := r.backup("ns"), r.peekIn("ns", "dev")
		r.endIn("ns", "dev")
		r.keepIn("ns", "state", "")

		got := r.restore(b, "ns", false, max)
		if want := (RestoreCounts{Sessions: 1, Messages: 37, Bytes: got.Bytes, Retained: 1}); got != want {
			t.Fatalf("part size %d: %+v", max, got)
		}
		r.want("waiting", r.peekIn("ns", "dev"), was)
		r.want("retained", r.retainedIn("ns"), []string{"state=on"})
		o := r.do(&Attach{Session: dev, Expiry: 3600, Window: 8})
		if !o.SessionPresent || o.Epoch <= e || o.Resumed != 11 {
			t.Fatalf("attach: %+v", o)
		}
		for _, q := range r.s.Queue(dev, o.Epoch, 0, 100, nil) {
			if q.ReleaseFirst {
				t.Fatalf("reference %d is released first, though the device has it under that id", q.Ref)
			}
		}
		r.want("again", r.do(&Publish{Session: dev, Epoch: o.Epoch, PacketID: 9, Topic: "p", Payload: []byte("in"), QoS: 2}).Seq, 0)
		if r.do(&Publish{Session: dev, Epoch: o.Epoch, PacketID: 9, Topic: "p", Payload: []byte("another"), QoS: 2}).Seq == 0 {
			t.Fatal("another message under an id of then is taken for the one of then")
		}
		r.pubIn("ns", "x/new", "new", 2)
		q := r.s.Queue(dev, o.Epoch, 40, 100, nil)
		if len(q) != 1 || q[0].Ref != 41 || !q[0].ReleaseFirst {
			t.Fatalf("what is new: %+v", q)
		}
		r.want("the other namespace", r.peekIn("", "dev"), []string{"1:other/1"})
		r.want("the other's device", r.told.ended, []string{fmt.Sprintf("ns/dev@%d:%d", e, EndDeleted)})

		before := r.peekIn("ns", "dev")
		if got := r.restore(b, "ns", false, max); got != (RestoreCounts{Kept: 1, RetainedKept: 1}) {
			t.Fatalf("again: %+v", got)
		}
		r.want("after the second run", r.peekIn("ns", "dev"), before)
		r.loadsAgain()
	}
}

// With Replace the backup counts: the device is closed, and what it sends goes on.
func TestRestore_Replaces(t *testing.T) {
	r := newSpaces(t)
	e := r.attachIn("ns", "dev", 3600, nil)
	r.subIn("ns", "dev", e, "x/#", 2)
	r.pubIn("ns", "x/1", "then", 2)
	r.keepIn("ns", "a", "then")
	r.keepIn("ns", "b", "same")
	b := r.backup("ns")
	r.do(&Ack{Session: SessionKey{"ns", "dev"}, Epoch: e, Done: []Range{{1, 1}}})
	r.pubIn("ns", "x/2", "now", 1)
	r.do(&Publish{Session: SessionKey{"ns", "dev"}, Epoch: e, PacketID: 5, Topic: "p", QoS: 2})
	r.keepIn("ns", "a", "now")
	r.keepIn("ns", "c", "only now")
	r.told.ended = nil
	got := r.restore(b, "ns", true, 1<<20)
	if want := (RestoreCounts{Sessions: 1, Replaced: 1, Messages: 1, Bytes: got.Bytes, Retained: 1, RetainedKept: 1}); got != want {
		t.Fatalf("%+v", got)
	}
	r.want("its device", r.told.ended, []string{fmt.Sprintf("ns/dev@%d:%d", e, EndDeleted)})
	r.want("waiting", r.peekIn("ns", "dev"), []string{"1:then/2"})
	r.want("retained", r.retainedIn("ns"), []string{"a=then", "b=same", "c=only now"})
	o := r.do(&Attach{Session: SessionKey{"ns", "dev"}, Expiry: 3600})
	r.want("present", o.SessionPresent, true)
	r.want("the id that it uses", r.do(&Publish{Session: SessionKey{"ns", "dev"}, Epoch: o.Epoch, PacketID: 5, Topic: "p", QoS: 2}).Seq, 0)
	if q := r.s.Queue(SessionKey{"ns", "dev"}, o.Epoch, 0, 9, nil); len(q) != 1 || !q[0].ReleaseFirst {
		t.Errorf("the device may hold the id for what it was sent since: %+v", q)
	}
	if got := r.restore(b, "ns", true, 1<<20); got.Replaced != 1 { // a new order, so it is meant
		t.Errorf("another order: %+v", got)
	}
}

// Nobody attaches a session of which a part is here, and one whose rest does not come ends.
func TestRestore_NobodyAttachesHalfASession(t *testing.T) {
	r := newSpaces(t)
	e := r.attachIn("ns", "dev", 3600, &Will{Topic: "gone", QoS: 1})
	r.subIn("ns", "dev", e, "x/#", 1)
	for i := range 20 {
		r.pubIn("ns", "x", fmt.Sprint(i), 1)
	}
	b, was := r.backup("ns"), r.peekIn("ns", "dev")
	r.endIn("ns", "dev")
	watch := r.attachIn("ns", "watch", 3600, nil)
	r.subIn("ns", "watch", watch, "gone", 1)
	order, p := r.order("ns", false), NewRestoreParts(b, 400)
	for range 3 {
		r.part(p, "ns")
	}
	at, _ := r.s.RestorationOf("ns")
	if at.Half != "dev" || at.Got == 0 || at.Got > 10 {
		t.Fatalf("it is at %+v", at)
	}
	for _, clean := range []bool{false, true} {
		r.want("attach", r.do(&Attach{Session: SessionKey{"ns", "dev"}, CleanStart: clean, Expiry: 3600}).Code, CodeVoid)
	}
	r.loadsAgain()
	r.pubIn("ns", "x", "meanwhile", 1)

	// Who goes on with it takes over from there.
	r.want("the same order", r.order("ns", false), order)
	r.want("another backup", r.do(&Restore{Step: RestoreBegin, Namespace: "ns", Backup: "c", For: time.Minute}).Code, CodeVoid)
	p = NewRestoreParts(b, 400)
	op, _ := r.part(p, "ns")
	if op.Sessions[0].From != at.Got {
		t.Fatalf("it goes on from %d, not %d", op.Sessions[0].From, at.Got)
	}
	r.want("that part again", r.do(op).Code, CodeGap)

	// Then nobody does: what is here of it ends, without its will.
	r.now += Time(2 * time.Minute)
	r.do(&Tick{})
	if _, here := r.s.Session(SessionKey{"ns", "dev"}); here {
		t.Fatal("half a session is left")
	}
	r.want("its will", r.peekIn("ns", "watch"), []string(nil))
	for {
		if _, more := r.part(p, "ns"); !more {
			break
		}
	}
	r.want("waiting", r.peekIn("ns", "dev"), was)
	r.want("present", r.do(&Attach{Session: SessionKey{"ns", "dev"}, Expiry: 3600}).SessionPresent, true)
	r.loadsAgain()
}

// A message that many wait for is stored twice at most.
func TestRestore_ASharedBodyIsStoredOnce(t *testing.T) {
	r := newSpaces(t)
	const devices, messages = 40, 15
	for i := range devices {
		id := fmt.Sprintf("d%02d", i)
		r.subIn("ns", id, r.attachIn("ns", id, 3600, nil), "all/#", 1)
	}
	for i := range messages {
		r.pubIn("ns", "all/x", fmt.Sprint(i, strings.Repeat("x", 300)), 1)
	}
	b := r.backup("ns")
	was := map[string][]string{}
	for i := range devices {
		id := fmt.Sprintf("d%02d", i)
		was[id] = r.peekIn("ns", id)
		r.endIn("ns", id)
	}
	r.want("stored before", r.s.Status().Queued, 0)
	from := r.s.HighSeq()
	order, p := r.order("ns", false), NewRestoreParts(b, 2000)
	for i := 0; ; i++ {
		if i == 8 { // the home let go of what it kept, as it does when nobody goes on for long
			r.now += Time(2 * time.Minute)
			r.do(&Tick{})
		}
		if _, more := r.part(p, "ns"); !more {
			break
		}
	}
	if given := r.s.HighSeq() - from; given > 4*messages {
		t.Errorf("%d bodies for %d messages", given, messages)
	}
	for id, list := range was {
		r.want(id, r.peekIn("ns", id), list)
	}
	r.loadsAgain()
	r.want("done", r.do(&Restore{Step: RestoreDone, Namespace: "ns", Order: order}).Count, 0)
	for i := range devices {
		r.endIn("ns", fmt.Sprintf("d%02d", i))
	}
	r.loadsAgain()
	for k := range r.kept {
		if k[0] == tableBody {
			t.Fatalf("body %x is left", k)
		}
	}
}

// Wills wait for their devices, those that were due before are not published again; sessions and
// messages that would be over are not given back.
func TestRestore_TimeGoesOn(t *testing.T) {
	r := newSpaces(t)
	will := func(s string) *Will { return &Will{Topic: "w/" + s, Payload: []byte(s), QoS: 1, Delay: 10} }
	e := r.attachIn("ns", "on", 3600, will("on"))
	r.subIn("ns", "on", e, "x", 1)
	r.do(&Publish{Session: SessionKey{Namespace: "ns"}, Topic: "x", Payload: []byte("short"), QoS: 1, Expiry: 100})
	for id, expiry := range map[string]uint32{"short": 60, "due": 3600} {
		e := r.attachIn("ns", id, expiry, will(id))
		r.do(&Detach{Session: SessionKey{"ns", id}, Epoch: e})
	}
	b := r.backup("ns")
	r.endIn("ns", "on", "short", "due")
	w := r.attachIn("ns", "watch", 3600, nil)
	r.subIn("ns", "watch", w, "w/#", 1)
	r.now += Time(70 * time.Second)
	r.do(&Tick{})
	got := r.restore(b, "ns", false, 1<<20)
	if want := (RestoreCounts{Sessions: 2, Old: 1, Messages: 1, Bytes: got.Bytes}); got != want {
		t.Fatalf("%+v", got)
	}
	r.now += Time(59 * time.Second)
	r.do(&Tick{})
	r.want("too early", r.peekIn("ns", "watch"), []string(nil))
	r.now += Time(2 * time.Second)
	r.do(&Tick{})
	r.want("wills", r.peekIn("ns", "watch"), []string{"1:on/1"})
	due, _ := r.s.Session(SessionKey{"ns", "due"})
	on, _ := r.s.Session(SessionKey{"ns", "on"})
	if due.ExpiresAt != Time(time.Hour)+Time(3600*time.Second) || on.ExpiresAt != Time(time.Hour)+Time((70+3600)*time.Second) {
		t.Errorf("they expire at %v and %v", due.ExpiresAt, on.ExpiresAt)
	}
	r.endIn("ns", "on")
	got = r.restore(b, "ns", false, 1<<20)
	if got.Messages != 1 { // it was sent before, so that its id stays in use
		t.Errorf("%+v", got)
	}
}

// What waited in a shared subscription waits again, and what a member had at QoS 1 as well; the members
// of another one do not get it.
func TestRestore_SharedSubscriptions(t *testing.T) {
	r := newSpaces(t)
	e := r.attachIn("ns", "a", 3600, nil)
	r.subIn("ns", "a", e, "$share/g/x/#", 2)
	r.subIn("ns", "a", e, "$share/h/y", 1)
	for i := range 10 {
		r.pubIn("ns", "x/1", fmt.Sprint(i), byte(1+i%2))
	}
	r.pubIn("ns", "y", "h", 1)
	b := r.backup("ns")
	r.endIn("ns", "a")
	other := r.attachIn("ns", "other", 3600, nil)
	r.subIn("ns", "other", other, "$share/h/y", 1)
	got := r.restore(b, "ns", false, 200)
	r.want("what waits", fmt.Sprint(got.Sessions, got.Messages, got.Grouped, got.GroupedKept), "1 9 2 0")
	var waits []string
	for _, x := range r.s.groups[groupKey{"ns", "g", "x/#"}].queue {
		waits = append(waits, string(x.msg.Payload))
	}
	r.want("in the group", len(waits)+len(r.peekIn("ns", "a")), 10)
	o := r.do(&Attach{Session: SessionKey{"ns", "a"}, Expiry: 3600, Window: 100})
	var all []string
	for _, q := range r.s.Queue(SessionKey{"ns", "a"}, o.Epoch, 0, 100, nil) {
		all = append(all, string(q.Message.Payload))
	}
	slices.Sort(all)
	r.want("all of it", strings.Join(all, ""), "0123456789")
	r.want("the other group's", r.peekIn("ns", "other"), []string{"1:h/1"})
	r.loadsAgain()
}

// A retained message that was deleted comes back as a new one: who is subscribed gets it, and peers.
func TestRestore_RetainedIsPublished(t *testing.T) {
	r := newSpaces(t)
	r.do(&SetPeer{Peer: "us", Retained: true})
	r.keepIn("ns", "a", "1")
	r.keepIn("ns", "b", "2")
	b := r.backup("ns")
	r.keepIn("ns", "a", "")
	was := (*r.s.spaces.Load())["ns"].retained.get("a").version
	e := r.attachIn("ns", "dev", 3600, nil)
	r.subIn("ns", "dev", e, "#", 1)
	spooled := func() (n int) {
		for _, p := range r.s.Peers() {
			n += p.Spooled
		}
		return n
	}
	before := spooled()
	r.do(&Configure{Revision: 1, Residency: []Residency{{Namespace: "ns", Filter: "never", Regions: []string{"us"}}}})
	r.restore(b, "ns", false, 1)
	r.want("retained", r.retainedIn("ns"), []string{"a=1", "b=2"})
	if now := (*r.s.spaces.Load())["ns"].retained.get("a").version; now <= was {
		t.Errorf("version %d is not above %d", now, was)
	}
	r.want("the device", r.peekIn("ns", "dev"), []string{"1:2/1", "2:1/1"})
	r.want("for the peer", spooled()-before, 1)
}

// A standby that may not store some of it has the numbers, and what became of each; and where the home
// may not store it any more, or the backup has no content, the place in the queue stays.
func TestRestore_WithholdsWhatResidencyKeeps(t *testing.T) {
	r := newSpaces(t)
	r.do(&SetTakeover{Standbys: []string{"us", "ap"}})
	keep := []Residency{{Namespace: "ns", Filter: "patient/#", Regions: []string{"eu", "ap"}}}
	r.do(&Configure{Revision: 1, Residency: keep})
	e := r.attachIn("ns", "dev", 3600, &Will{Topic: "patient/will", Payload: []byte("secret"), QoS: 1})
	r.subIn("ns", "dev", e, "#", 2)
	for _, topic := range []string{"a", "patient/1", "patient/2", "b"} {
		r.keepIn("ns", topic, "secret")
	}
	b := r.backup("ns")
	for _, replace := range []bool{false, true} {
		if !replace {
			r.endIn("ns", "dev")
			r.keepIn("ns", "patient/2", "")
			r.keepIn("ns", "b", "")
		} else {
			r.keepIn("ns", "patient/1", "other")
		}
		c, all := &shipped{New(), "us"}, &shipped{New(), "ap"}
		order, p := r.order("ns", replace), NewRestoreParts(b, 1)
		for more := true; more; {
			_, more = r.part(p, "ns")
			for _, x := range []*shipped{c, all} {
				if err := x.take(t, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.do(&Restore{Step: RestoreDone, Namespace: "ns", Order: order})
		at, _ := r.s.RestorationOf("ns")
		if got := at.Counts; got.Sessions != 1 || got.Messages != 4 || got.Retained+got.RetainedKept != 4 || replace == (got.Replaced == 0) {
			t.Fatalf("%+v", got)
		}
		var got []string
		for _, q := range c.Peek(SessionKey{"ns", "dev"}, 0, 10) {
			got = append(got, fmt.Sprint(q.Ref, q.Message.Topic, q.Message.Withheld))
		}
		r.want("queue at us", got, []string{"1afalse", "2true", "3true", "4bfalse"})
	}
	r.endIn("ns", "dev")
	r.keepIn("ns", "patient/1", "")
	r.do(&Configure{Revision: 2, Residency: []Residency{{Namespace: "ns", Filter: "patient/#", Regions: []string{"ap"}}}})
	got := r.restore(b, "ns", false, 1)
	r.want("what it may not store", fmt.Sprint(got.RetainedAside, got.RetainedKept, got.Messages), "2 2 4")
	for _, q := range r.s.Peek(SessionKey{"ns", "dev"}, 0, 10) {
		if strings.HasPrefix(q.Message.Topic, "patient") || q.Message.Withheld != (q.Ref == 2 || q.Ref == 3) {
			t.Errorf("%+v", q)
		}
	}
	r.loadsAgain()
}

// Limits hold: of sessions, of a queue, of the namespace.
func TestRestore_LimitsHold(t *testing.T) {
	r := newSpaces(t)
	for _, id := range []string{"a", "b", "c"} {
		r.subIn("ns", id, r.attachIn("ns", id, 3600, nil), "x", 1)
	}
	for i := range 5 {
		r.pubIn("ns", "x", fmt.Sprint(i), 1)
	}
	r.keepIn("ns", "k/1", "1")
	r.keepIn("ns", "k/2", "2")
	b := r.backup("ns")
	r.endIn("ns", "a", "b", "c")
	r.keepIn("ns", "k/1", "")
	r.keepIn("ns", "k/2", "")
	r.do(&Configure{Revision: 1, Limits: Limits{Sessions: 2, QueueMessages: 3, Retained: 1}})
	got := r.restore(b, "ns", false, 100)
	if want := (RestoreCounts{Sessions: 2, Refused: 1, Messages: 6, Bytes: got.Bytes, MessagesFull: 4, Retained: 1, RetainedFull: 1}); got != want {
		t.Fatalf("%+v", got)
	}
	r.want("waiting", r.peekIn("ns", "a"), []string{"1:0/1", "2:1/1", "3:2/1"})
}

// Whatever a namespace held, however it is cut, whoever begins the parts again and whatever happens
// meanwhile: each message that waited waits once, in order, under its packet id, and behind it what is
// new.
func TestRestore_Property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 21))
		r := newSpaces(t)
		filters := []string{"a", "a/#", "+/b", "#"}
		topics := []string{"a", "a/b", "b"}
		ids := []string{"d0", "d1", "d2", "d3", "d4"}
		pub := func(payload string) {
			r.do(&Publish{Session: SessionKey{Namespace: "ns"}, Topic: topics[rnd.IntN(3)], Payload: []byte(payload + strings.Repeat(".", rnd.IntN(200))), QoS: byte(1 + rnd.IntN(2)), Retain: rnd.IntN(5) == 0})
		}
		for i := range rapid.IntRange(5, 80).Draw(rt, "before") {
			k := SessionKey{"ns", ids[rnd.IntN(len(ids))]}
			x, _ := r.s.Session(k)
			switch rnd.IntN(6) {
			case 0:
				r.do(&Attach{Session: k, Expiry: 3600, Window: uint16(rnd.IntN(4))})
			case 1:
				r.do(&Detach{Session: k, Epoch: x.Epoch})
			case 2:
				r.do(&Subscribe{Session: k, Epoch: x.Epoch, Filters: []Subscription{{Filter: filters[rnd.IntN(4)], QoS: byte(1 + rnd.IntN(2))}}})
			case 3:
				if q := r.s.Queue(k, x.Epoch, 0, 4, nil); len(q) > 0 {
					ref := q[rnd.IntN(len(q))].Ref
					r.do(&Ack{Session: k, Epoch: x.Epoch, Received: []Range{{q[0].Ref, q[0].Ref}}, Done: []Range{{ref, ref}}})
				}
			default:
				pub(fmt.Sprint("m", i))
			}
		}
		b := r.backup("ns")
		was, subs, retained := map[string][]string{}, map[string]string{}, r.retainedIn("ns")
		for _, id := range ids {
			if x, here := r.s.Session(SessionKey{"ns", id}); here {
				was[id], subs[id] = r.peekIn("ns", id), fmt.Sprint(x.Subscriptions)
			}
		}
		r.endIn("ns", ids...)
		for _, topic := range topics {
			r.keepIn("ns", topic, "")
		}
		_, p := r.order("ns", false), NewRestoreParts(b, 1+rnd.IntN(800))
		for {
			op, more := r.part(p, "ns")
			if !more {
				break
			}
			switch rnd.IntN(6) {
			case 0: // it is proposed once more
				if o := r.do(op); o.Code == CodeOK && op.To != op.After {
					rt.Fatalf("seed %d: a part was taken twice: %+v", seed, op)
				}
			case 1: // another node goes on
				r.order("ns", false)
				p = NewRestoreParts(b, 1+rnd.IntN(800))
			case 2:
				r.do(&Publish{Session: SessionKey{Namespace: "ns"}, Topic: topics[rnd.IntN(3)], Payload: []byte("new"), QoS: 1})
			case 3:
				r.loadsAgain()
			case 4:
				r.now += Time(rnd.IntN(3)) * Time(40*time.Second)
				r.do(&Tick{})
			}
		}
		for id, list := range was {
			got := r.peekIn("ns", id)
			old := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return strings.Contains(s, ":new/") })
			if !slices.Equal(old, list) || !slices.Equal(got[:len(old)], old) {
				rt.Fatalf("seed %d: of %s waits\n%q, not\n%q", seed, id, got, list)
			}
			if x, _ := r.s.Session(SessionKey{"ns", id}); fmt.Sprint(x.Subscriptions) != subs[id] {
				rt.Fatalf("seed %d: %s subscribes to %v, not %s", seed, id, x.Subscriptions, subs[id])
			}
			if !r.do(&Attach{Session: SessionKey{"ns", id}, Expiry: 3600}).SessionPresent {
				rt.Fatalf("seed %d: %s is not present", seed, id)
			}
		}
		if got := r.retainedIn("ns"); !slices.Equal(got, retained) {
			rt.Fatalf("seed %d: retained %q, not %q", seed, got, retained)
		}
	})
}

// randomRestore takes one random step of a restoration.
func (r *rig) randomRestore(rnd *rand.Rand) {
	r.do(&Raise{Level: 3})
	ns := []string{"", "ns"}[rnd.IntN(2)]
	if r.excerpt[ns] == nil || rnd.IntN(20) == 0 {
		if r.excerpt == nil {
			r.excerpt = map[string]*Excerpt{}
		}
		r.excerpt[ns] = r.backup(ns)
	}
	at, ok := r.s.RestorationOf(ns)
	if !ok || at.Done || rnd.IntN(10) == 0 {
		r.do(&Restore{Step: RestoreBegin, Namespace: ns, Backup: fmt.Sprint("b", rnd.IntN(2)), Replace: rnd.IntN(2) == 0, For: time.Duration(1+rnd.IntN(9)) * time.Second})
		return
	}
	op, err := NewRestoreParts(r.excerpt[ns], 1+rnd.IntN(600)).Next(&at)
	if err != nil {
		r.t.Fatal(err)
	}
	if op == nil {
		op = &Restore{Step: RestoreDone, Namespace: ns, Order: at.Order}
	}
	for i := range op.Messages {
		if rnd.IntN(3) == 0 && op.Messages[i].RetainVersion == 0 {
			op.Keep = append(op.Keep, op.Messages[i].Seq)
		}
	}
	r.do(op)
}
