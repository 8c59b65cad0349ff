package app

import (
	"causeway/internal/admin"
	"causeway/internal/replica"
	"causeway/link"
)

// status is this node's copy of the home, as operators see it.
func (h *homeService) status(r *replica.Replica) admin.Home {
	s := r.State().Status()
	out := admin.Home{ID: string(h.id), Epoch: s.Epoch.Number, Host: s.Epoch.Host, Leading: r.Stats().Leader, Role: h.roleName(r), Seq: uint64(s.Seq),
		Filters: s.Filters, Retained: s.Retained, Queued: s.Queued, QueuedBytes: int64(s.QueuedBytes), Owed: s.Owed}
	if leader, ok := r.Leader(); ok {
		out.Leader = string(leader)
	}
	if out.Leading && out.Role == admin.RoleHome {
		out.Standbys = h.standbyStatus()
	}
	return out
}

// roleName is what this region's copy is.
func (h *homeService) roleName(r *replica.Replica) string {
	s := r.State()
	_, handed := s.Handed()
	switch {
	case r.Hosting() && h.a.fenced(h.id):
		return admin.RoleFenced
	case r.Hosting():
		return admin.RoleHome
	case s.ID() == "":
		return admin.RoleEmpty
	case superseded(r, h.a.cfg.Region):
		return admin.RoleRetired
	case handed && s.Epoch().Host == h.a.cfg.Region:
		return admin.RoleHanded
	}
	return admin.RoleStandby
}

// standbyStatus is how the standbys of the home are, which is served here.
func (h *homeService) standbyStatus() (list []admin.HomeStandby) {
	if h.links == nil {
		return nil
	}
	for _, c := range h.links.Copies() {
		up := c.Link.State == link.Up
		one := admin.HomeStandby{Region: c.Region, Connected: up && c.State != link.CopyRefuses && c.State != link.CopyDiverged, State: string(c.State), Reason: c.Reason,
			Since: c.Link.Since.UTC(), LagRecords: c.LagRecords, LagMessages: c.LagMessages, LagBytes: c.LagBytes, LagSeconds: admin.SecondsOf(c.Lag)}
		if !up {
			one.Reason = c.Link.Reason
		}
		list = append(list, one)
	}
	return list
}
