package foreign

import (
	"strings"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/link"
)

func anyVersion(l *Link) { l.In, l.Version = nil, 0 }

// A broker that knows no MQTT 5 says so in 3.1.1's words, whatever it was asked in.
func TestDial_FindsWhatTheBrokerSpeaks(t *testing.T) {
	run(t, anyVersion, func(l *lab) {
		no := []byte{byte(packet.CONNACK) << 4, 2, 0, 1}
		s := l.greeted()
		l.want("first", s.connect.Version, packet.V5)
		s.send(no)
		s = l.greeted()
		l.want("then", []any{s.connect.Version, len(s.connect.User)}, []any{packet.V311, 1})
		s.send(no)
		s = l.accept(false, packet.Connack{})
		l.want("last", []any{s.connect.Version, len(s.connect.User)}, []any{packet.V311, 0})
		l.settle()
		l.want("protocol", l.m.Status()[0].Protocol, "MQTT 3.1.1")
		s.Close()
		l.want("again", l.greeted().connect.Version, packet.V311)
	})
}

func TestDial_SaysWhyItIsRefused(t *testing.T) {
	run(t, anyVersion, func(l *lab) {
		s := l.greeted()
		s.send(packet.AppendConnack(nil, s.v, &packet.Connack{Code: packet.BadUserNameOrPassword, ReasonString: "expired"}))
		l.settle()
		got := l.m.Status()[0].Reason
		for _, want := range []string{"mqtt://broker:1883", "bad user name or password", `"expired"`, "set username and password"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q does not say %q", got, want)
			}
		}
		l.greeted() // it goes on
	})
}

func TestDial_SilentBrokerIsLeft(t *testing.T) {
	run(t, anyVersion, func(l *lab) {
		s := l.accept(false, packet.Connack{ServerKeepAlive: packet.Some[uint16](10)})
		l.want("asked for", s.connect.KeepAlive, 30)
		time.Sleep(5 * time.Minute)
		l.want("packets", len(s.packets), 0) // it answers pings
		l.want("state", l.m.Status()[0].State, link.Up)
		s.mute.Store(true)
		began := time.Now()
		for range s.packets {
		}
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("left after %v", took)
		}
		l.settle()
		if got := l.m.Status()[0].Reason; !strings.Contains(got, "silent") {
			t.Errorf("reason %q", got)
		}
	})
}

// A broker that forgets us soon loses what it keeps for us.
func TestDial_SaysHowLongTheSessionIsKept(t *testing.T) {
	run(t, anyVersion, func(l *lab) {
		l.accept(false, packet.Connack{SessionExpiry: packet.Some[uint32](60)})
		l.settle()
		if got := l.m.Status()[0].Reason; !strings.Contains(got, "for 1m0s only, not 72h0m0s") {
			t.Errorf("reason %q", got)
		}
	})
}
