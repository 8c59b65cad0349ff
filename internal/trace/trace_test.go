package trace

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func spec(kind Kind, value string) Spec {
	return Spec{ID: "t", Kind: kind, Namespace: "cars", Value: value, Start: time.Now()}
}

// What belongs to a trace: each row is a line and whether traces of the client a, the topic cmd/# and the network
// 10.1.0.0/16 have it.
func TestTrace_LinesThatBelong(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		l                      Line
		client, topic, address bool
	}{
		{"the client publishes there", Line{Event: Published, Namespace: "cars", ClientID: "a", Topic: "cmd/x", Address: "10.1.2.3:5"}, true, true, true},
		{"another does", Line{Event: Published, Namespace: "cars", ClientID: "b", Topic: "cmd/x", Address: "10.2.2.3:5"}, false, true, false},
		{"in another namespace", Line{Event: Published, Namespace: "plants", ClientID: "a", Topic: "cmd/x"}, false, false, false},
		{"elsewhere", Line{Event: Published, Namespace: "cars", ClientID: "b", Topic: "tele/x"}, false, false, false},
		{"a subscription that takes a part", Line{Event: Subscribed, Namespace: "cars", ClientID: "b", Topic: "+/x"}, false, true, false},
		{"a connect", Line{Event: Connected, Namespace: "cars", ClientID: "a", Address: "[::ffff:10.1.0.9]:77"}, true, false, true},
		{"a stranger", Line{Event: Refused, Namespace: "cars", Address: "10.1.0.9:77"}, false, false, true},
		{"an address that is none", Line{Event: Refused, Namespace: "cars", Address: "pipe"}, false, false, false},
	} {
		for kind, want := range map[*Spec]bool{{Kind: Client, Value: "a"}: tt.client, {Kind: Topic, Value: "cmd/#"}: tt.topic, {Kind: Address, Value: "10.1.0.0/16"}: tt.address} {
			var b Book
			s := spec(kind.Kind, kind.Value)
			if err := b.Start(s); err != nil {
				t.Fatal(err)
			}
			b.On().Note(tt.l)
			if _, lines, _ := b.After("t", 0, 10); (len(lines) == 1) != want {
				t.Errorf("%s: in the trace of %s %s: %v, want %v", tt.name, kind.Kind, kind.Value, len(lines) == 1, want)
			}
		}
	}
}

// An acknowledgement says no topic: it belongs to the trace of the topic whose delivery it is for.
func TestTrace_TopicHasItsAcks(t *testing.T) {
	var b Book
	if err := b.Start(spec(Topic, "cmd/#")); err != nil {
		t.Fatal(err)
	}
	on := b.On()
	for id, topic := range map[uint16]string{1: "cmd/x", 2: "tele/x"} {
		on.Note(Line{Event: Delivered, Namespace: "cars", ClientID: "a", Topic: topic, PacketID: id})
		on.Note(Line{Event: Acknowledged, Namespace: "cars", ClientID: "a", PacketID: id})
	}
	on.Note(Line{Event: Acknowledged, Namespace: "cars", ClientID: "b", PacketID: 1})
	_, lines, _ := b.After("t", 0, 10)
	if len(lines) != 2 || lines[1].Event != Acknowledged || lines[1].Topic != "cmd/x" {
		t.Errorf("%+v", lines)
	}
}

// A trace keeps its newest lines, by number and by bytes, and counts the others.
func TestTrace_IsBounded(t *testing.T) {
	for _, tt := range []struct {
		lines, payload, notes int
		most                  int
	}{{10, 0, 25, 10}, {MaxLines, payloadMost, 4000, maxBytes / payloadMost}} {
		var b Book
		s := spec(Client, "a")
		s.Lines, s.Payload = tt.lines, true
		if err := b.Start(s); err != nil {
			t.Fatal(err)
		}
		for range tt.notes {
			b.On().Note(Line{Namespace: "cars", ClientID: "a", Payload: make([]byte, 10*tt.payload)})
		}
		st, lines, _ := b.After("t", 0, tt.notes)
		if len(lines) > tt.most || len(lines) == 0 || len(lines)+int(st.Dropped) != tt.notes || lines[len(lines)-1].N != uint64(tt.notes) {
			t.Errorf("kept %d of %d, dropped %d", len(lines), tt.notes, st.Dropped)
		}
	}
}

// Payloads are not kept unless somebody asked.
func TestTrace_NoPayloadUnasked(t *testing.T) {
	var b Book
	if err := b.Start(spec(Client, "a")); err != nil {
		t.Fatal(err)
	}
	b.On().Note(Line{Namespace: "cars", ClientID: "a", Payload: []byte("secret")})
	if _, lines, _ := b.After("t", 0, 1); lines[0].Payload != nil {
		t.Errorf("kept %q", lines[0].Payload)
	}
}

// It ends by itself, with nobody's help, and then nothing pays for it.
func TestTrace_EndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Book
		s := spec(Client, "a")
		s.Until = s.Start.Add(time.Minute)
		if err := b.Start(s); err != nil {
			t.Fatal(err)
		}
		on := b.On()
		on.Note(Line{Namespace: "cars", ClientID: "a"})
		time.Sleep(time.Minute + 1)
		on.Note(Line{Namespace: "cars", ClientID: "a"})
		if b.On() != nil {
			t.Error("it runs on")
		}
		if st, lines, _ := b.After("t", 0, 10); st.State != Over || len(lines) != 1 {
			t.Errorf("%s with %d lines", st.State, len(lines))
		}
	})
}

// A few may run at a time; those that ended make room.
func TestBook_IsBounded(t *testing.T) {
	var b Book
	start := func(i int) error {
		s := spec(Client, "a")
		s.ID = fmt.Sprint(i)
		return b.Start(s)
	}
	for i := range 3 * kept {
		if i >= running {
			if err := start(i); err != ErrFull {
				t.Fatalf("trace %d: %v", i, err)
			}
			if err := b.Stop(fmt.Sprint(i - running)); err != nil {
				t.Fatal(err)
			}
		}
		if err := start(i); err != nil {
			t.Fatalf("trace %d: %v", i, err)
		}
	}
	if n := len(b.List()); n != kept {
		t.Errorf("%d are kept", n)
	}
	if len(b.On().list) != running {
		t.Errorf("%d run", len(b.On().list))
	}
}

// Who notes while traces start and stop never waits for long, and no line is lost that came while a trace ran.
func TestBook_NotesFromManySides(t *testing.T) {
	var b Book
	if err := b.Start(spec(Client, "a")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				b.On().Note(Line{Namespace: "cars", ClientID: "a"})
			}
		})
	}
	wg.Go(func() {
		for i := range 100 {
			s := spec(Topic, "x/#")
			s.ID = fmt.Sprint(i)
			_ = b.Start(s)
			_ = b.Stop(s.ID)
		}
	})
	wg.Wait()
	if st, lines, _ := b.After("t", 0, 5000); len(lines) != 2000 || st.Dropped != 0 {
		t.Errorf("%d lines, %d dropped", len(lines), st.Dropped)
	}
}

// What a packet costs when no trace runs, and when one runs that it does not concern.
func BenchmarkOn(b *testing.B) {
	var book Book
	note := func() {
		if on := book.On(); on != nil {
			on.Note(Line{Event: Published, Namespace: "cars", ClientID: "b", Topic: "tele/x"})
		}
	}
	b.Run("none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			note()
		}
	})
	if err := book.Start(spec(Client, "a")); err != nil {
		b.Fatal(err)
	}
	b.Run("another", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			note()
		}
	})
}

// What a trace saw of a client goes when the client is erased, and a trace of it ends.
func TestBook_ForgetsAClient(t *testing.T) {
	var b Book
	for kind, value := range map[Kind]string{Client: "a", Topic: "cmd/#"} {
		s := spec(kind, value)
		s.ID = string(kind)
		if err := b.Start(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, client := range []string{"a", "b"} {
		b.On().Note(Line{Event: Published, Namespace: "cars", ClientID: client, Topic: "cmd/x"})
	}
	if n := b.Forget("cars", "a", true); n != 3 || len(b.List()) != 2 {
		t.Errorf("counted %d", n)
	}
	if n := b.Forget("cars", "a", false); n != 3 {
		t.Errorf("forgot %d", n)
	}
	if _, lines, _ := b.After("topic", 0, 10); len(lines) != 1 || lines[0].ClientID != "b" {
		t.Errorf("left %+v", lines)
	}
	if len(b.List()) != 1 || len(b.On().list) != 1 {
		t.Errorf("%d traces, %d run", len(b.List()), len(b.On().list))
	}
}
