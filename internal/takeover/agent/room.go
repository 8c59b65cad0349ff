package agent

import "fmt"

// lacks lists what the region has too little of to serve a home of a size.
func (a *Agent) lacks(s Size) []Reason {
	if a.o.Room == nil {
		return nil
	}
	return a.o.Room().lacks(a.o.Region, s)
}

// lacks lists what a region with this room has too little of.
func (r Room) lacks(region string, s Size) (list []Reason) {
	add := func(need, have int64, what string, fix string) {
		if have >= 0 && need > have {
			list = append(list, Reason{"capacity", fmt.Sprintf("the home has %d %s and %s has room for %d more", need, what, region, have), fix})
		}
	}
	add(int64(s.Sessions), int64(r.Sessions), "sessions", "add nodes there and raise takeover.sessions, or choose another region")
	add(s.Queued, r.Queued, "bytes queued", "add memory or nodes there")
	if r.DiskBytes == 0 { // the copy itself is there already
		list = append(list, Reason{"capacity", fmt.Sprintf("%s has no disk left beyond its reserve", region), "add disk there"})
	}
	return list
}
