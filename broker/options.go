package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/trace"
)

// Transport is how MQTT reaches a listener.
type Transport string

// The transports. Their names are those of the configuration.
const (
	TCP Transport = "mqtt"
	TLS Transport = "mqtts"
	WS  Transport = "ws"
	WSS Transport = "wss"
)

func (t Transport) secure() bool    { return t == TLS || t == WSS }
func (t Transport) websocket() bool { return t == WS || t == WSS }

// Options is what a Server is made of. Zero fields take the default named.
type Options struct {
	Homes         []HomeOptions // the homes that sessions may live in
	Where         Homes         // nil: all live in the first of Homes
	Claims        Claimer       // nil: sessions stay where they are
	Authenticator Authenticator // nil: everybody may do everything
	Gate          Gate          // nil: everybody is let in
	Watcher       Watcher       // nil: nobody hears
	Trace         *trace.Book   // nil: nobody can ask for a trace
	Logger        *slog.Logger  // nil: slog.Default()
	// Panicked hears what cost a connection. nil: it is logged now and then.
	Panicked  func(*group.Panic)
	Listeners []Listener

	// PacketMax is the largest packet taken or sent, in bytes. Default 2 MiB.
	PacketMax int
	// ConnectPacketMax is the largest CONNECT, in bytes. It bounds what a stranger can make the broker hold. Default
	// 64 KiB.
	ConnectPacketMax int
	// ReceiveMaximum is how many QoS 1 and 2 PUBLISH of one device wait for their acknowledgement; it is advertised
	// (v5). At the bound the connection is not read, never closed: clients exceed it when they re-send. Default 1024.
	ReceiveMaximum int
	// UnackedBytes is the same in bytes. Default 4 MiB.
	UnackedBytes int
	// Inflight caps the QoS 1 and 2 messages sent to one device and not yet acknowledged, when its own Receive Maximum
	// is not smaller. Default and most: home.MaxWindow.
	Inflight int
	// MemoryMessages and MemoryBytes bound what waits in memory for one connection: QoS 0, and QoS 1 and 2 that are in
	// no queue of the home. Defaults 50,000 and 32 MiB.
	MemoryMessages int
	MemoryBytes    int
	// MemoryTotal bounds the same over all connections, in bytes. Default 1 GiB.
	MemoryTotal int64
	// TopicAliasMax is how many topic aliases a device may use towards us, and we towards a device. Default 32;
	// negative: none.
	TopicAliasMax int
	// KeepAliveMax caps the keep-alive of MQTT 5 devices. Default: it is the device's to choose.
	KeepAliveMax time.Duration
	// WriteTimeout is how long a device may leave one write (at most 64 KiB or one packet) unfinished. Default 20s.
	WriteTimeout time.Duration
	// ParkTime is how long a CONNECT waits for a home that cannot serve it yet, before its connection is closed without
	// an answer. Default 8s: below the time-outs of all clients tried.
	ParkTime time.Duration
	// ParkElsewhere is how long it waits at least while another region is known to serve it: long enough for a
	// switchover that is under way, and short, since the next dial may lead there. 2 s.
	ParkElsewhere time.Duration
	// DrainTime bounds a graceful stop. Default 20s.
	DrainTime time.Duration
	// DrainRate is how many connections a graceful stop closes a second, at least: more when DrainTime would not be
	// enough. Default 500.
	DrainRate int
	// SettleTime bounds what a graceful stop waits for at each connection before it is closed: that what the device sent
	// is answered, and what was sent to it acknowledged. Default 1s.
	SettleTime time.Duration
	// DrainDisconnect sends DISCONNECT 0x8B before a graceful stop closes a connection. Off by default: it makes
	// mosquitto's clients exit where a plain close makes them reconnect.
	DrainDisconnect bool
	// AckLatency, when set, hears how long a publisher waited for PUBACK or PUBREC. It is called from the home's apply
	// goroutine and must not block.
	AckLatency func(policy home.Policy, qos byte, d time.Duration)
	// ConnectStage, when set, hears how long a connection that goes on took for a stage of its beginning. It must not block.
	ConnectStage func(stage Stage, d time.Duration)
}

// Listener is one way in.
type Listener struct {
	// Name is its label in logs and metrics; unique.
	Name string
	// Transport is the default TCP, or another.
	Transport Transport
	// Address is host:port. It is not used when Net is set.
	Address string
	// Net, when set, is listened on in place of Address. The server closes it.
	Net net.Listener
	// Namespace of the sessions of the devices that come this way.
	Namespace string
	// Methods are the ways a device may prove who it is; one suffices. It is passed to the Authenticator.
	Methods []Method
	// Versions are those of MQTT that are spoken. Empty: all.
	Versions []packet.Version
	// TLS is the server side of TLS and WSS. Client certificates are asked for and verified as it says.
	TLS *tls.Config
	// Path of WS and WSS. Default /mqtt.
	Path string
	// Origins lists the Origin headers that browsers may come with. Empty: any.
	Origins []string
	// MaxConnections is how many connections may be open; more are closed at accept. 0: no bound.
	MaxConnections int
	// ConnectTimeout is how long a device may take from accept to a complete CONNECT. Default 10s.
	ConnectTimeout time.Duration
	// Proxy says that every connection begins with a PROXY header of version 2, which a load balancer writes: it tells
	// the device's address. A connection without one is closed.
	Proxy bool
	// ServerReference, when set, is told to MQTT 5 devices that an eviction closes: DISCONNECT 0x9C with it as Server
	// Reference. Hardly any client follows it, and some give up at a DISCONNECT, so the default is none.
	ServerReference string
	// ConnectRate is how many connections are accepted a second; more wait in the kernel, before TLS. 0: no bound.
	ConnectRate float64
}

func (o *Options) withDefaults() {
	def(&o.PacketMax, 2<<20)
	def(&o.ConnectPacketMax, 64<<10)
	def(&o.ReceiveMaximum, 1024)
	def(&o.UnackedBytes, 4<<20)
	def(&o.Inflight, home.MaxWindow)
	o.Inflight = min(o.Inflight, home.MaxWindow)
	def(&o.MemoryMessages, 50_000)
	def(&o.MemoryBytes, 32<<20)
	def(&o.MemoryTotal, 1<<30)
	def(&o.TopicAliasMax, 32)
	o.TopicAliasMax = max(o.TopicAliasMax, 0)
	def(&o.WriteTimeout, 20*time.Second)
	def(&o.ParkTime, 8*time.Second)
	def(&o.ParkElsewhere, 2*time.Second)
	def(&o.DrainTime, 20*time.Second)
	def(&o.DrainRate, 500)
	def(&o.SettleTime, time.Second)
	if o.Where == nil && len(o.Homes) > 0 {
		o.Where = oneHome(o.Homes[0].ID)
	}
	if o.Authenticator == nil {
		o.Authenticator = allowAll{}
	}
	if o.Gate == nil {
		o.Gate = open{}
	}
	if o.Watcher == nil {
		o.Watcher = deaf{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Listeners = append([]Listener(nil), o.Listeners...)
	for i := range o.Listeners {
		o.Listeners[i].withDefaults()
	}
}

func (l *Listener) withDefaults() {
	def(&l.Transport, TCP)
	def(&l.ConnectTimeout, 10*time.Second)
	if l.Transport.websocket() {
		def(&l.Path, "/mqtt")
	}
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (o *Options) validate() error {
	if err := validateHomes(o.Homes); err != nil {
		return err
	}
	for name, v := range map[string]struct{ got, least, most int }{
		"PacketMax":        {o.PacketMax, 1 << 10, 256 << 20},
		"ConnectPacketMax": {o.ConnectPacketMax, 256, o.PacketMax},
		"ReceiveMaximum":   {o.ReceiveMaximum, 1, 65535},
		"UnackedBytes":     {o.UnackedBytes, 1, 1 << 30},
		"Inflight":         {o.Inflight, 1, home.MaxWindow},
		"MemoryMessages":   {o.MemoryMessages, 1, 1 << 24},
		"MemoryBytes":      {o.MemoryBytes, 1, 1 << 32},
		"TopicAliasMax":    {o.TopicAliasMax, 0, 1024},
	} {
		if v.got < v.least || v.got > v.most {
			return fmt.Errorf("broker: Options.%s is %d; it must be %d to %d", name, v.got, v.least, v.most)
		}
	}
	names := map[string]bool{}
	for i := range o.Listeners {
		l := &o.Listeners[i]
		if l.Name == "" || names[l.Name] {
			return fmt.Errorf("broker: listener %d is named %q; give each listener a name of its own", i, l.Name)
		}
		names[l.Name] = true
		if err := l.validate(); err != nil {
			return fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return nil
}

func validateHomes(homes []HomeOptions) error {
	if len(homes) == 0 {
		return errors.New("broker: Options.Homes is empty; a device's session has to live somewhere")
	}
	ids := map[home.ID]bool{}
	for i, h := range homes {
		if h.Home == nil || ids[h.ID] {
			return fmt.Errorf("broker: Options.Homes[%d] has no Home, or the ID %q of another", i, h.ID)
		}
		ids[h.ID] = true
	}
	return nil
}

func (l *Listener) validate() error {
	switch l.Transport {
	case TCP, TLS, WS, WSS:
	default:
		return fmt.Errorf("transport %q is not known; use mqtt, mqtts, ws or wss", l.Transport)
	}
	if l.Transport.secure() && l.TLS == nil {
		return fmt.Errorf("transport %s needs a certificate; set its tls.cert and tls.key", l.Transport)
	}
	if l.Transport.websocket() && l.Path[0] != '/' {
		return fmt.Errorf("path %q must begin with /", l.Path)
	}
	if l.ConnectRate < 0 || l.MaxConnections < 0 || l.ConnectTimeout < 0 {
		return errors.New("a bound is negative; use 0 for none")
	}
	return nil
}
