package app

import (
	"context"
	"time"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/store"
)

// How often the node that leads looks at its disk, and how long it waits before it
// takes more of the spools away: what was dropped leaves the disk only later.
const (
	diskEvery  = 2 * time.Second
	raiseEvery = 10 * time.Second
	shedEvery  = 30 * time.Second
)

// spoolFloor is what the spools of links may always have: as much passes through them
// in a moment while a link works, and hardly any of it reaches the disk.
const spoolFloor = 16 << 20

// space is what a disk has and what of it is spoken for, in bytes.
type space struct{ size, free, reserve, most uint64 }

// measure looks at the disk; not ok where that cannot be done.
func (a *App) measure() (s space, ok bool) {
	u, ok, err := store.Space(a.opts.FS, a.cfg.DataDir)
	if err != nil || !ok || u.Size == 0 {
		return s, false
	}
	return spaceOf(&a.nodeConfig().Disk, u.Size, u.Free), true
}

func spaceOf(d *config.Disk, size, free uint64) space {
	reserve, _ := d.Reserve.Of(size) // Validate has tried them
	most, _ := d.SpoolMax.Of(size)
	return space{size: size, free: free, reserve: min(reserve, size), most: min(most, size)}
}

// limit is what spools that hold so much may take. Into the reserve they do not grow;
// if others use up half of it, shed takes an eighth of them away.
func (s space) limit(spooled uint64, shed bool) (uint64, home.LimitCause) {
	room := spooled
	switch {
	case s.free > s.reserve:
		room += s.free - s.reserve
	case s.free < s.reserve/2 && shed:
		room -= spooled / 8
	}
	if s.most <= room {
		return max(s.most, spoolFloor), home.LimitMax
	}
	return max(room, spoolFloor), home.LimitReserve
}

// limiter decides when a bound is entered: not for each block that is written.
type limiter struct {
	changed time.Time
	shed    time.Time
}

// next returns the bound to enter; not ok if the one in force will do.
func (l *limiter) next(s space, have home.SpoolLimit, spooled uint64, now time.Time) (next home.SpoolLimit, ok bool) {
	shed := now.Sub(l.shed) >= shedEvery
	bytes, by := s.limit(spooled, shed)
	switch {
	case have.Bytes == 0, bytes < have.Bytes-have.Bytes/64:
	case bytes > have.Bytes+have.Bytes/16 && now.Sub(l.changed) >= raiseEvery:
	default:
		return next, false
	}
	if s.free < s.reserve/2 && shed {
		l.shed = now
	}
	l.changed = now
	return home.SpoolLimit{Bytes: bytes, By: by}, true
}

// watchDisk enters what the spools may take, while this node leads the home.
func (a *App) watchDisk(ctx context.Context) error {
	var l limiter
	for wait(ctx, diskEvery) {
		r := a.home.current()
		if r == nil || !r.Leads() {
			l = limiter{}
			continue
		}
		a.limitSpools(ctx, r, &l)
	}
	return nil
}

func (a *App) limitSpools(ctx context.Context, r *replica.Replica, l *limiter) {
	s, ok := a.measure()
	if !ok {
		return
	}
	have, spooled := r.State().SpoolLimit()
	if node := home.NodeID(a.cfg.Node); have.Node != node { // of another node's disk
		have.Bytes = 0
	}
	next, ok := l.next(s, have, spooled, time.Now())
	if !ok {
		return
	}
	next.Node = home.NodeID(a.cfg.Node)
	if err := proposeWait(ctx, r, &next); err != nil {
		return // the home is closed, or another node leads; the next look tries again
	}
	if next.By == home.LimitReserve && s.free <= s.reserve {
		a.log.Warn("the disk is down to its reserve: spools grow no more", "free", s.free, "reserve", s.reserve, "spooled", spooled, "limit", next.Bytes)
	}
}

// spoolSpace says what the spools take of the disk, and may.
func (n node) spoolSpace(d admin.Store) admin.Store {
	if s, ok := n.a.measure(); ok {
		d.SizeBytes, d.ReserveBytes = int64(s.size), int64(s.reserve)
	}
	st, err := n.state()
	if err != nil {
		return d
	}
	limit, spooled := st.SpoolLimit()
	d.SpoolBytes, d.SpoolLimitBytes = int64(spooled), int64(min(limit.Bytes, 1<<62))
	if limit.Bytes == 0 {
		return d
	}
	d.SpoolLimitBy, d.SpoolLimitNode = limit.By.String(), string(limit.Node)
	var pace float64 // bytes a second, of all spools
	for _, p := range st.Peers() {
		if age := st.Now().Sub(p.Oldest); p.Oldest != 0 && age >= paceAfter {
			pace += float64(p.Bytes) / age.Seconds()
		}
	}
	if pace > 0 && spooled < limit.Bytes {
		d.SpoolFullInSeconds = admin.SecondsOf(time.Duration(min(float64(limit.Bytes-spooled)/pace*1e9, float64(maxFullIn))))
	}
	return d
}
