package admin

import (
	"context"
	"strings"
	"testing"
	"time"
)

func (f *fake) DeviceHistory(k Key) ([]DeviceEvent, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events, f.down
}

func (f *fake) TopDevices(by string, max int) (TopPage, error) {
	if f.st.Node == "" {
		return TopPage{}, f.down
	}
	since := noon
	return TopPage{Since: &since, Items: []TopDevice{{Namespace: "cars", ClientID: "mad", Node: "eu-1", Value: 900, Error: 3}}}, f.down
}

func (f *fake) Bans() ([]Ban, error) { f.mu.Lock(); defer f.mu.Unlock(); return f.bans, f.down }

func (f *fake) AddBan(_ context.Context, b Ban, dryRun bool) (Ban, []string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("ban %s %s by %s", b.Kind, b.Value, b.By)
	}
	return b, nil, f.down
}

func (f *fake) DeleteBan(_ context.Context, id, by string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("take back %s by %s", id, by)
	}
	return nil, f.down
}

func (f *fake) Flapping() (Flapping, error) {
	return Flapping{Enabled: true, Connects: 30, WithinSeconds: 60, JailSeconds: 300}, f.down
}

func (f *fake) SetFlapping(context.Context, Flapping, string, bool) ([]string, error) {
	return nil, f.down
}

// The verdict is what an operator wants to hear first.
func TestHistory_SaysWhyItIsOffline(t *testing.T) {
	until := noon.Add(time.Hour)
	gone := DeviceEvent{At: noon, Node: "eu-1", Event: "ended", Reason: "keep_alive", Address: "10.1.2.3:5"}
	bad := DeviceEvent{At: noon, Node: "eu-1", Event: "refused", Reason: "bad_login", Detail: "bad user name, password or certificate", Address: "10.1.2.3:5", Username: "eve"}
	for _, tt := range []struct {
		name, id string
		events   []DeviceEvent
		bans     []Ban
		want     []string
		online   bool
	}{
		{"it is not", "car-1", nil, nil, []string{"it is connected at eu-1 from 10.1.2.3:4567"}, true},
		{"it went", "x", []DeviceEvent{{At: noon.Add(-time.Hour), Event: "connected"}, gone}, nil, []string{"one and a half keep-alives", "did not come back", "no session"}, false},
		{"a password", "x", []DeviceEvent{gone, bad}, nil, []string{"refused at eu-1: bad_login"}, false},
		{"a ban", "x", []DeviceEvent{bad}, []Ban{{Kind: "client", Namespace: "cars", Value: "x", By: "ops", Until: &until, Reason: "mad"}}, []string{"not let in", "banned by ops until 2026-03-01T13:00:00Z: mad"}, false},
		{"its user's ban", "x", []DeviceEvent{bad}, []Ban{{Kind: "user", Namespace: "cars", Value: "eve", By: "ops"}}, []string{"the user eve is banned"}, false},
		{"another's ban", "x", []DeviceEvent{gone}, []Ban{{Kind: "client", Namespace: "plants", Value: "x", By: "ops"}}, []string{"did not come back"}, false},
		{"nothing", "x", nil, nil, []string{"no node has heard of it"}, false},
		{"its node died", "x", []DeviceEvent{{At: noon, Node: "eu-2", Event: "connected"}}, nil, []string{"that node is gone"}, false},
	} {
		f := newFake()
		f.events, f.bans = tt.events, tt.bans
		got := answer[DeviceHistory](t, call(t, fixture(t, f), "GET", "/v1/clients/cars/"+tt.id+"/history", ""))
		if got.Online != tt.online {
			t.Errorf("%s: online %v", tt.name, got.Online)
		}
		for _, w := range tt.want {
			if !strings.Contains(got.Verdict, w) {
				t.Errorf("%s: %q does not say %q", tt.name, got.Verdict, w)
			}
		}
	}
}
