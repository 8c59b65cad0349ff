package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/trace"
)

// onlyReads lets devices publish to no topic that begins with cmd/.
type onlyReads struct{ allowAll }

func (onlyReads) Authorize(_ *Identity, name string, write bool) bool {
	return !write || !strings.HasPrefix(name, "cmd/")
}

func (onlyReads) Decide(*Identity, string, bool) Decision { return Decision{Rule: "no commands"} }

// follow starts a trace and returns what it saw, without what differs from run to run.
func follow(t *testing.T, b *trace.Book, kind trace.Kind, value string) func() []string {
	t.Helper()
	if err := b.Start(trace.Spec{ID: value, Kind: kind, Namespace: "ns", Value: value, Payload: true, Start: time.Now()}); err != nil {
		t.Fatal(err)
	}
	return func() (said []string) {
		_, lines, err := b.After(value, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			said = append(said, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", l.ClientID, l.Event, l.Topic, l.Payload, l.Reason)))
		}
		return said
	}
}

// A message is followed by its topic from the device that publishes it to the acknowledgement of the one that gets it, and
// each device from its CONNECT to its end: what was denied to it names the rule.
func TestTrace_FromPublishToAck(t *testing.T) {
	var book trace.Book
	l := newLab(t, func(o *Options) { o.Trace, o.Authenticator = &book, onlyReads{} })
	topic, lamp, nobody := follow(t, &book, trace.Topic, "tele/#"), follow(t, &book, trace.Client, "lamp"), follow(t, &book, trace.Client, "nobody")
	meter, sub := l.connect(packet.V5, "meter"), l.connect(packet.V5, "lamp")
	sub.subscribe(1, "tele/+", "$share/g/x/#")
	meter.publish1("tele/1", "21", 7)
	m := sub.wantMessage("21")
	sub.sendAck(packet.PUBACK, m.PacketID)
	sub.publish(pub("cmd/x", "open", 1, 9))
	if code := sub.ack(packet.PUBACK, 9); code != packet.NotAuthorized {
		t.Errorf("answered %s", code)
	}
	sub.send(packet.AppendDisconnectPacket(nil, packet.V5, &packet.Disconnect{}))
	sub.closed()

	want := []string{"lamp connected   new session", "lamp subscribed tele/+", "lamp subscribed $share/g/x/#", "lamp delivered tele/1 21", "lamp acknowledged   PUBACK",
		"lamp published cmd/x open", "lamp denied cmd/x open publish: not authorized by the rule no commands", "lamp ended   client"}
	eventually(t, "the lamp's end", func() bool { return len(lamp()) == len(want) })
	if got := lamp(); !slices.Equal(got, want) {
		t.Errorf("the lamp's trace: %q", got)
	}
	want = []string{"lamp subscribed tele/+", "meter published tele/1 21", "meter accepted tele/1  success", "lamp delivered tele/1 21", "lamp acknowledged tele/1  PUBACK"}
	got := topic()
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("the topic's trace: %q", got)
	}
	if got := nobody(); len(got) > 0 {
		t.Errorf("the trace of nobody: %q", got)
	}
}

// A stranger is known by its address: what it was refused for is there though it never said who it is.
func TestTrace_RefusedByAddress(t *testing.T) {
	var book trace.Book
	l := newLab(t, func(o *Options) { o.Trace = &book })
	said := follow(t, &book, trace.Address, "127.0.0.0/8")
	d := l.dial(packet.V5)
	d.send([]byte{0x10, 0x02, 0, 0})
	d.closed()
	l.dial(packet.V5).hello("loser", func(p *packet.Connect) { p.AuthMethod = "x" })
	eventually(t, "both are heard of", func() bool { return len(said()) == 2 })
	got := said()
	if !strings.HasPrefix(got[0], "refused   malformed: ") || got[1] != "loser refused   unsupported: enhanced authentication is not supported" {
		t.Errorf("%q", got)
	}
}
