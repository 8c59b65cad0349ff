package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"causeway/broker/packet"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/link/foreign"
)

// newForeign makes the links to brokers of another make. Like the links to regions they are run by the node that leads.
func (a *App) newForeign() (err error) {
	links := a.cfg.ForeignLinks()
	if len(links) == 0 || a.replicant() {
		return nil
	}
	o := foreign.Options{Region: a.cfg.Region, Home: a.home, Full: replica.ErrFull, Local: local{a.home}, MaxPacket: int(a.cfg.Limits.Packet),
		Gateway: a.home.foreignGateway(), Keep: a.home.keep, Dial: a.opts.DialForeign, Logger: a.log.With("component", "foreign")}
	for _, l := range links {
		o.Links = append(o.Links, foreignLink(l))
	}
	a.foreign, err = foreign.New(o)
	return err
}

// gateway says whether this node has the region's links; nil: it is the region's only one. Fresh, too: a leader that is
// cut off with a hanging disk believes that it leads. A home that may not be served
// is fresh nowhere; it still has links.
func (h *homeService) gateway() func() bool {
	if h.a.cluster == nil {
		return nil
	}
	return func() bool {
		r := h.current()
		switch {
		case r == nil || !r.Leads():
			return false
		case !r.Hosting(): // it speaks for no session, and is told by the leader's freshness all the same
			return r.FreshWithin(followFresh)
		}
		return r.Fresh() || !h.leased()
	}
}

// foreignGateway says whether this node has the region's links to brokers of another make. Those go with the home that has
// their spools, and nowhere else: what a copy that stands by has for a broker, its host's region has too, and what the broker
// acknowledged there could not be noted.
func (h *homeService) foreignGateway() func() bool {
	gateway := h.gateway()
	return func() bool { return h.hosts() && h.leased() && (gateway == nil || gateway()) }
}

// followFresh is how old may be what the leader of a copy that stands by knows of its
// group: as old as where the home is served.
const followFresh = 300 * time.Millisecond

func (a *App) runForeign(ctx context.Context) error { return a.home.runAtLeader(ctx, a.foreign.Run) }

func foreignLink(l *config.Link) foreign.Link {
	out := foreign.Link{Name: l.Name, Namespace: l.Namespace, Address: l.Address, In: l.In, Out: l.Out, Never: l.Never, QoSMax: byte(l.QoSMax),
		Retained: l.Retained, Connections: l.Connections, Inflight: l.Inflight, ClientID: l.ClientID, Username: l.Username, KeepAlive: l.Keepalive,
		SessionExpiry: l.Spool.Age}
	switch l.Version {
	case config.Version311:
		out.Version = packet.V311
	case config.Version5:
		out.Version = packet.V5
	}
	if l.Canary != config.CanaryOff {
		out.CanaryTopic = l.Canary
	}
	if l.Password != "" {
		out.Password = func() (string, error) { return readSecret("password of link "+l.Name, l.Password) }
	}
	if files := l.TLS; files != (config.LinkTLS{}) {
		out.TLS = func() (*tls.Config, error) { return clientTLS(&files) }
	}
	return out
}

// readSecret reads the first line of the file that a key refers to.
func readSecret(what string, ref config.SecretRef) (string, error) {
	b, err := os.ReadFile(ref.Path())
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// clientTLS reads the files of a link's TLS, at each dial, so that they may be replaced.
func clientTLS(files *config.LinkTLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: files.ServerName}
	if files.CA != "" {
		pem, err := os.ReadFile(files.CA)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: %s holds no certificate in PEM", files.CA)
		}
	}
	if files.Cert == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert, tls.key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// PublishFromForeign implements foreign.Local.
func (l local) PublishFromForeign(m *home.Message, not []home.ID) {
	l.h.house.PublishFromForeign(m, not)
}

// foreignInterest makes a foreign broker want what the link's configuration says: it cannot say so itself.
func (h *homeService) foreignInterest(ctx context.Context, r *replica.Replica, l *config.Link) error {
	id := home.ID(l.Peer)
	have, ok := r.State().PeerInterest(id)
	want := interestOf(l)
	if !ok || slices.Equal(slices.Collect(have.All()), want) {
		return nil
	}
	return proposeWait(ctx, r, &home.Interest{Peer: id, Epoch: r.State().Epoch(), Full: true, Version: have.Version + 1, Add: want})
}

// interestOf is sorted and without repetitions.
func interestOf(l *config.Link) (list []home.InterestFilter) {
	for _, f := range slices.Compact(slices.Sorted(slices.Values(l.Out))) {
		list = append(list, home.InterestFilter{Namespace: l.Namespace, Filter: f})
	}
	return list
}
