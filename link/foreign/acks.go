package foreign

import (
	"errors"

	"causeway/broker/packet"
)

// acks are the acknowledgements of a connection, in the order of what they acknowledge [MQTT-4.6.0-2]. Guarded by the
// lane's mu.
type acks struct {
	slots []slot
	first int // number of slots[0], less one
}

type slot struct {
	t     packet.Type
	id    uint16
	ready bool
}

// maxUnsaid bounds the acknowledgements that wait to be written; a broker has at most as many messages under way as there
// are packet ids.
const maxUnsaid = 1 << 17

// errUnsaid ends a connection whose broker goes on sending and reads nothing.
var errUnsaid = errors.New("the broker sends messages and does not read their acknowledgements")

// unsaid checks that a broker reads what it makes us say.
func (c *lane) unsaid() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.acks.slots) > maxUnsaid || len(c.control) > 4*maxUnsaid {
		return errUnsaid
	}
	return nil
}

// reserve returns the number of a slot, from 1.
func (a *acks) reserve(t packet.Type, id uint16) int {
	a.slots = append(a.slots, slot{t: t, id: id})
	return a.first + len(a.slots)
}

// ready says that one may go; 0 is none.
func (a *acks) ready(n int) {
	if n > 0 {
		a.slots[n-1-a.first].ready = true
	}
}

// append writes those that may go.
func (a *acks) append(buf []byte, v packet.Version) []byte {
	n := 0
	for ; n < len(a.slots) && a.slots[n].ready; n++ {
		buf = packet.AppendAck(buf, v, a.slots[n].t, a.slots[n].id, packet.Success)
	}
	a.first += n
	if a.slots = a.slots[n:]; len(a.slots) == 0 {
		a.slots = nil
	}
	return buf
}
