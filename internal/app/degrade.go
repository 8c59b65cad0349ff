package app

import "time"

// degrading is what the leader of a hosted home knows of its standby, and of what the
// voters believe of it. [E13]
//
//	the standby is away --voters are told--> acknowledgements do without it
//	it takes what is shipped again --> acknowledgements wait for it again
//	  --calmFor, a mark in the log--> the standby has the mark --voters are told--> as before
//
// The voters are told of the end only then: until the standby has the mark it lacks what
// was acknowledged without it, and must not be promoted by votes.
type degrading struct {
	away time.Time // since when it takes nothing; zero: it does
	told bool      // the voters know that acknowledgements do without it
	sure bool      // false: the voters may believe so of an earlier leader's word
	calm time.Time // since when acknowledgements wait for it again; zero: they do not, or did all the time
	mark uint64    // the record that it has to have then; 0: none yet
}

// calmFor is how long the nodes of the region may take to hear that acknowledgements
// wait again: who has not heard the leader for that long acknowledges nothing.
const calmFor = time.Second

// word is what is to be done next.
type word uint8

const (
	sayNothing word = iota
	sayShort        // tell the voters that the standby will lack what is acknowledged
	takeMark        // put a mark into the log
	sayWhole        // tell the voters that the standby has everything
)

// degraded says that acknowledgements do without the standby.
func (d *degrading) degraded() bool { return d.told && d.calm.IsZero() }

// next looks at the standby: whether it takes what is shipped, the records that it has,
// and whether acknowledgements may do without it.
func (d *degrading) next(now time.Time, healthy bool, records uint64, may bool) word {
	switch {
	case healthy:
		d.away = time.Time{}
	case d.away.IsZero():
		d.away = now
	}
	away := !d.away.IsZero() && now.Sub(d.away) >= standbyAwayAfter && may
	switch {
	case away && d.told:
		d.calm, d.mark = time.Time{}, 0
	case away:
		return sayShort
	case !d.told && d.sure:
	case d.calm.IsZero():
		d.calm, d.mark = now, 0
	case now.Sub(d.calm) < calmFor:
	case d.mark == 0:
		return takeMark
	case records >= d.mark:
		return sayWhole
	}
	return sayNothing
}

// said notes that a word was said.
func (d *degrading) said(w word) {
	d.told, d.sure = w == sayShort, true
	d.calm, d.mark = time.Time{}, 0
}
