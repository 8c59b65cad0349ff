package admin

import (
	"fmt"
	"time"
)

// canaryLate is how old the newest canary may be before the link does not work,
// whatever its tunnel says. One is sent every two seconds.
const canaryLate = 10 * time.Second

// canaryTrouble names the link that is up and has forwarded nothing for the longest.
func canaryTrouble(st Status) (list []Trouble) {
	for i := range st.Links {
		if t := st.Links[i].late(st.Now); t != nil {
			list = append(list, *t)
		}
	}
	return bySince(list)
}

// late is what is wrong with a link that is up and whose canaries do not cross; nil
// if they do.
func (l *Link) late(now time.Time) *Trouble {
	c := l.Canary
	if l.State != LinkUp || c == nil {
		return nil
	}
	out, in := c.OutAgeSeconds.Duration(), c.InAgeSeconds.Duration()
	next := "causeway ctl link test " + l.Peer
	switch {
	case out > canaryLate && l.LagMessages > 0:
		return &Trouble{Summary: fmt.Sprintf("the link to %s is up, but what arrived there last was sent %s ago; %d messages wait for it",
			l.Peer, FormatDuration(out), l.LagMessages), Since: now.Add(-out), Next: next}
	case out > canaryLate:
		return &Trouble{Summary: fmt.Sprintf("the link to %s is up, but nothing has arrived there for %s", l.Peer, FormatDuration(out)),
			Since: now.Add(-out), Next: next}
	case in > canaryLate:
		return &Trouble{Summary: fmt.Sprintf("the link to %s is up, but nothing has come from there for %s", l.Peer, FormatDuration(in)),
			Since: now.Add(-in), Next: next}
	}
	return nil
}
