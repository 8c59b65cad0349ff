package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"causeway/broker/packet"
)

// revoking is what a listener's TLS asks about certificates: those of some names are revoked, of others nobody knows.
type revoking struct {
	mu               sync.Mutex
	revoked, unknown []string
	asked            func(name string) // before it answers; nil: nobody is told
}

type refusedName struct {
	name    string
	revoked bool
}

func (r *refusedName) Error() string { return "refused: " + r.name }
func (r *refusedName) Revoked() bool { return r.revoked }

func (r *revoking) verify(s tls.ConnectionState) error {
	name := s.PeerCertificates[0].Subject.CommonName
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked != nil {
		r.asked(name)
	}
	switch {
	case slices.Contains(r.revoked, name):
		return fmt.Errorf("verify: %w", &refusedName{name, true})
	case slices.Contains(r.unknown, name):
		return &refusedName{name, false}
	}
	return nil
}

func (r *revoking) set(revoked, unknown []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoked, r.unknown = revoked, unknown
}

// Devices whose certificate is revoked while they are connected are closed and told why, over TLS and WebSocket; those that
// nobody can say anything of stay. Neither is let in again. All that is counted by its reason.
func TestRevoked_WhileConnected(t *testing.T) {
	for _, transport := range []Transport{TLS, WSS} {
		t.Run(string(transport), func(t *testing.T) {
			ca, lists := newAuthority(t), &revoking{}
			l, _ := authLab(t, AuthOptions{}, func(o *Options) {
				cfg := ca.server(tls.RequireAndVerifyClientCert)
				cfg.VerifyConnection = lists.verify
				o.Listeners[0].Transport, o.Listeners[0].TLS, o.Listeners[0].Methods = transport, cfg, []Method{Cert}
			})
			dial := func(name string) (*device, error) {
				if transport == TLS {
					return l.dialTLS(ca.client(name))
				}
				d, _, _ := l.dialWS(ca.client(name), nil, "mqtt")
				if d == nil {
					return nil, errors.New("refused")
				}
				return d, nil
			}
			connect := func(name string, v packet.Version) *device {
				t.Helper()
				d, err := dial(name)
				if err != nil {
					t.Fatal(err)
				}
				d.v = v
				d.connectOK(name)
				return d
			}
			stolen, old, well, unsaid := connect("stolen", packet.V5), connect("old", packet.V311), connect("well", packet.V5), connect("unsaid", packet.V5)
			if n := l.s.CloseRevoked(context.Background(), 1000); n != 0 {
				t.Fatalf("%d closed although nothing is revoked", n)
			}
			lists.set([]string{"stolen", "old"}, []string{"unsaid"})
			if n := l.s.CloseRevoked(context.Background(), 1000); n != 2 {
				t.Errorf("%d closed", n)
			}
			if code := stolen.closed(); code != packet.NotAuthorized {
				t.Errorf("it was told %s", code)
			}
			if code := old.closed(); code != 0 {
				t.Errorf("a device of 3.1.1 was told %s", code)
			}
			well.silent()
			unsaid.silent()
			for _, name := range []string{"stolen", "unsaid"} {
				if d, err := dial(name); err == nil {
					d.closed()
				}
			}
			stats := l.s.Stats()
			eventually(t, "all are counted", func() bool {
				of := stats.Listeners["tcp"]
				return stats.Disconnects[EndRevoked].Load() == 2 && of.Connects[ConnectRevoked].Load() == 1 && of.Connects[ConnectNoCRL].Load() == 1 &&
					of.Connects[ConnectGone].Load() == 0 && of.Open.Load() == 2
			})
		})
	}
}

// A list that comes while a device is on its way in, after its handshake and before anybody sees its connection, is not
// overlooked.
func TestRevoked_BetweenHandshakeAndSession(t *testing.T) {
	ca, lists := newAuthority(t), &revoking{}
	asked := 0
	lists.asked = func(string) {
		if asked++; asked == 2 { // the handshake is over
			lists.revoked = []string{"car"}
		}
	}
	l, _ := authLab(t, AuthOptions{}, func(o *Options) {
		cfg := ca.server(tls.RequireAndVerifyClientCert)
		cfg.VerifyConnection = lists.verify
		o.Listeners[0].Transport, o.Listeners[0].TLS, o.Listeners[0].Methods = TLS, cfg, []Method{Cert}
	})
	d, err := l.dialTLS(ca.client("car"))
	if err != nil {
		t.Fatal(err)
	}
	d.connectOK("car")
	if code := d.closed(); code != packet.NotAuthorized {
		t.Errorf("it was told %s", code)
	}
}
