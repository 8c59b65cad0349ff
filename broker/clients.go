package broker

import (
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// Client is what an operator sees of a connection.
type Client struct {
	Home        home.ID
	Session     home.SessionKey
	Epoch       home.SessionEpoch
	Listener    string
	Username    string
	Remote      string
	Version     packet.Version
	ConnectedAt time.Time
	CleanStart  bool
	Expiry      time.Duration // of the session, after the connection
	KeepAlive   time.Duration // 0 is off
	Unanswered  int           // operations of the device that wait for the log
	InFlight    int           // messages sent and not acknowledged
	InMemory    int           // messages that wait in memory
	MemoryBytes int
	BytesIn     int64 // of MQTT packets
	BytesOut    int64
}

// Clients calls f for every connection that has a session, in no order, until f returns false.
func (s *Server) Clients(f func(Client) bool) {
	more := true
	s.each(func(c *conn) {
		if more {
			more = f(c.info())
		}
	})
}

// Client returns the connection of a session.
func (h *House) Client(k home.SessionKey) (Client, bool) {
	c := h.sessions.get(k)
	if c == nil {
		return Client{}, false
	}
	return c.info(), true
}

// Kick closes the connection of a session; the session stays. It reports whether there was one.
func (h *House) Kick(k home.SessionKey) bool {
	c := h.sessions.get(k)
	if c == nil {
		return false
	}
	c.shut(EndDeleted, packet.AdministrativeAction, "")
	return true
}

func (c *conn) info() Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Client{
		Home: c.house.id, Session: c.key, Epoch: c.epoch, Listener: c.l.Name, Username: c.who.Username, Remote: c.who.Remote, Version: c.v,
		ConnectedAt: c.connectedAt, CleanStart: c.cleanStart, Expiry: time.Duration(c.expiry) * time.Second,
		KeepAlive: c.keepAlive / 3 * 2, Unanswered: c.ops, InFlight: len(c.win) + len(c.local),
		InMemory: c.mem0.len() + c.memN.len(), MemoryBytes: c.memBytes, BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
	}
}
