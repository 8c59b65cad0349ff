package sim

import "slices"

// Outbox is what MQTT asks a publisher to keep of what it sent.
type Outbox struct {
	Flight []Sending
	Acked  []int // numbers, as PUBACK or PUBREC came
	ids    uint16
}

// Sending is a message in flight.
type Sending struct {
	Num   int
	ID    uint16
	Acked bool // PUBREC came
}

// Put takes a message in. Ids are taken in turn, of a few, as by a device that has just started.
func (o *Outbox) Put(num int) Sending {
	for {
		o.ids = o.ids%5 + 1
		if !slices.ContainsFunc(o.Flight, func(f Sending) bool { return f.ID == o.ids }) {
			break
		}
	}
	f := Sending{Num: num, ID: o.ids}
	o.Flight = append(o.Flight, f)
	return f
}

// Answered is PUBACK or PUBREC. It reports whether PUBREL is to follow.
func (o *Outbox) Answered(num int, id uint16, qos byte) (release bool) {
	i := slices.IndexFunc(o.Flight, func(f Sending) bool { return f.ID == id && f.Num == num })
	if i < 0 || o.Flight[i].Acked {
		return false
	}
	o.Acked = append(o.Acked, num)
	if qos == 1 {
		o.Flight = slices.Delete(o.Flight, i, i+1)
		return false
	}
	o.Flight[i].Acked = true
	return true
}

// Released is PUBCOMP.
func (o *Outbox) Released(id uint16) {
	o.Flight = slices.DeleteFunc(o.Flight, func(f Sending) bool { return f.ID == id && f.Acked })
}
