package foreign

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link"
	"causeway/routing"
)

// Local is where messages of QoS 0 go, which are in no log.
type Local interface {
	// PublishFromForeign hands a message to who wants it, in this region and others, but not to the peers in not. It
	// must not block; the message belongs to the callee.
	PublishFromForeign(m *home.Message, not []home.ID)
}

// Link is a link to one broker. Its name is also its peer in the home, whose policy and interest are made from the same
// Out and Never.
type Link struct {
	Name      string
	Namespace string   // whose topics cross
	Address   []string // mqtt://host:port or mqtts://host:port; the next one is tried when one does not answer
	In        []string // filters of what is taken from the broker; empty: nothing
	Out       []string // filters of what goes to it; empty: nothing
	Never     []string // filters that cross in neither direction
	QoSMax    byte     // at which messages cross at most: 1 or 2; 0 means 2
	Retained  bool     // RETAIN crosses; otherwise messages cross without it

	Connections int            // that share what goes out, by publisher; default 1
	Inflight    int            // messages a connection has unacknowledged at most; 0: what the broker takes, 20 if it cannot say
	Version     packet.Version // V5 or V311; 0: the best that the broker has
	ClientID    string         // the connections add -0, -1, …; the same client ids must come back, so it is not random
	Username    string
	Password    func() (string, error)      // asked for at each dial; nil: none
	TLS         func() (*tls.Config, error) // likewise, for mqtts; nil: the system's authorities

	KeepAlive     time.Duration // default 30 s
	SessionExpiry time.Duration // for how long the broker keeps our session while we are away; default 3 d
	CanaryTopic   string        // "" sends none
	CanaryEvery   time.Duration // default 10 s
}

// Dialer connects to a host:port.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// Options of a Manager. Zero values mean their defaults.
type Options struct {
	Region string
	Home   link.Home
	Full   error // what Home.Propose fails with when Room will tell
	Local  Local
	Links  []Link

	// Gateway says that this node has the region's links, as link.Options has it.
	Gateway func() bool
	// Dial connects to a host:port. Nil means TCP.
	Dial Dialer

	// Keep is as link.Options has it.
	Keep func(ctx context.Context, name string, run func(context.Context) error)

	DialTimeout time.Duration // until the CONNACK; default 10 s
	MaxPacket   int           // bytes of a packet that is taken from a broker; default 2 MiB
	Window      int           // messages of a spool under way at most, over all connections: what may come twice when the node is killed; default 2048
	WindowBytes int           // and their bytes; default 16 MiB

	Logger *slog.Logger
}

// Validate reports what is wrong, naming the field or the link.
func (o *Options) Validate() error {
	if o.Region == "" || o.Home == nil || o.Full == nil || o.Local == nil {
		return errors.New("foreign: Region, Home, Full and Local must be set")
	}
	names := map[string]bool{}
	for i := range o.Links {
		l := &o.Links[i]
		if err := l.validate(); err != nil {
			return fmt.Errorf("foreign link %q: %w", l.Name, err)
		}
		if names[l.Name] {
			return fmt.Errorf("foreign link %q is configured twice: keep one", l.Name)
		}
		names[l.Name] = true
	}
	return nil
}

func (l *Link) validate() error {
	switch {
	case l.Name == "" || l.Namespace == "" || l.ClientID == "":
		return errors.New("Name, Namespace and ClientID must be set")
	case len(l.Address) == 0:
		return errors.New("there is no address: give mqtt://host:port or mqtts://host:port")
	case len(l.In) == 0 && len(l.Out) == 0:
		return errors.New("nothing crosses: give filters for In or Out")
	case l.Version != 0 && l.Version != packet.V311 && l.Version != packet.V5:
		return fmt.Errorf("version %d is not spoken here: use 3.1.1, 5 or 0", l.Version)
	}
	for _, a := range l.Address {
		if _, _, err := endpoint(a); err != nil {
			return err
		}
	}
	for _, f := range slices.Concat(l.In, l.Out, l.Never) {
		if err := routing.ValidFilter(f); err != nil {
			return fmt.Errorf("filter %q: %w", f, err)
		}
	}
	return nil
}

// endpoint returns the host:port of an address, and whether TLS is spoken there.
func endpoint(address string) (hostport string, secure bool, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Hostname() == "" || u.Port() == "" {
		return "", false, fmt.Errorf("address %q: use mqtt://host:port or mqtts://host:port", address)
	}
	return u.Host, u.Scheme == "mqtts", nil
}

func (l *Link) peer() home.ID { return home.ID(l.Name) }

// withDefaults returns a copy with every zero filled in.
func (o Options) withDefaults() Options {
	orDefault(&o.DialTimeout, 10*time.Second)
	orDefault(&o.MaxPacket, 2<<20)
	orDefault(&o.Window, 2048)
	orDefault(&o.WindowBytes, 16<<20)
	if o.Gateway == nil {
		o.Gateway = func() bool { return true }
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if o.Keep == nil {
		o.Keep = group.Keep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Links = slices.Clone(o.Links)
	for i := range o.Links {
		l := &o.Links[i]
		orDefault(&l.QoSMax, 2)
		orDefault(&l.Connections, 1)
		orDefault(&l.KeepAlive, 30*time.Second)
		orDefault(&l.SessionExpiry, 3*24*time.Hour)
		orDefault(&l.CanaryEvery, 10*time.Second)
	}
	return o
}

func orDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
