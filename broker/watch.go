package broker

import (
	"time"

	"causeway/broker/packet"
)

// Watcher hears what becomes of devices' connections. It is called from many goroutines and must not block.
type Watcher interface {
	// Connected is called when a device was answered. present says that it found its session, tookOver that this was
	// taken from another connection, here or at another node.
	Connected(c Client, present, tookOver bool)
	// Ended is called when the connection of a device that was answered ended.
	Ended(c Client, why EndReason)
	// Refused is called for a CONNECT that was understood and not taken. Whose it was is what it says of itself.
	Refused(r Refused)
}

// Refused is a CONNECT that was not taken.
type Refused struct {
	Namespace, ClientID, Username string
	Listener, Remote              string
	Version                       packet.Version
	Result                        ConnectResult
	Reason                        string
}

// Gate says who is not let in. It is asked on every connection and must be fast.
type Gate interface {
	// Address returns why nobody is let in from an address, "" if they are. It is asked before TLS.
	Address(remote string) string
	// Device returns why a device that has proven who it is is not let in, "" if it is. What is temporary is parked as
	// for a home that is away, and closed: so a device that comes too often comes less often, and does not give up.
	Device(who *Identity) (reason string, temporary bool)
}

// open is used by a server without a Gate.
type open struct{}

func (open) Address(string) string           { return "" }
func (open) Device(*Identity) (string, bool) { return "", false }

// deaf is used by a server without a Watcher.
type deaf struct{}

func (deaf) Connected(Client, bool, bool) {}
func (deaf) Ended(Client, EndReason)      {}
func (deaf) Refused(Refused)              {}

// told tells the watcher of a refused CONNECT, as far as it was understood.
func (k *connecting) told(r *refusal) {
	if k.hello == nil {
		return
	}
	k.s.opt.Watcher.Refused(Refused{Namespace: k.l.Namespace, ClientID: k.hello.ClientID, Username: k.hello.Username, Listener: k.l.Name, Remote: k.from,
		Version: k.hello.Version, Result: r.result, Reason: r.reason})
}

// banned refuses a device that is not let in.
func (k *connecting) banned(c *conn, v packet.Version) *refusal {
	reason, temporary := k.s.opt.Gate.Device(&c.who)
	if reason == "" {
		return nil
	}
	r := &refusal{result: ConnectBanned, v: v, reason: reason}
	if !temporary {
		r.code = packet.Banned
		return r
	}
	t := time.NewTimer(k.s.opt.ParkTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-k.s.stopping:
	}
	return r
}
