package agent

import (
	"fmt"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// A region whose own home is empty may be new, or may have lost all its disks while another region
// has a copy, or serves. Founded anew the home would begin at its first epoch once more, and what
// it acknowledged would be no part of the one there is. So it is founded only once a majority of
// voters said that they never promised it to anybody, or an operator said so.

// MayFound says whether the region may found its own home, which is empty. It is cheap and may be
// called from any goroutine.
func (a *Agent) MayFound(id home.ID) bool {
	k := a.keepers[id]
	return k != nil && a.atWork.Load() && k.founds.Load()
}

// judgeFounding looks at what voters said of a home that is empty here.
func (k *keeper) judgeFounding(st *CopyState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !st.Empty || string(k.id) != k.a.o.Region {
		k.founds.Store(false)
		return
	}
	why := k.whyUnfounded(st)
	if k.ordered {
		why = ""
	}
	k.founds.Store(why == "")
	if why != k.unfounded && why != "" {
		k.a.o.Logger.Warn("the region's own home is empty and is not founded", "home", k.id, "reason", why,
			"fix", "bring voters up; if the home was lost with all disks, fail it over to a standby; if there is none of it anywhere: causeway ctl region resume --force "+string(k.id))
	}
	k.unfounded = why
	if why != "" {
		k.why = why
	}
}

// whyUnfounded is why the home may exist elsewhere, as far as is known. The caller holds mu.
func (k *keeper) whyUnfounded(st *CopyState) string {
	if e := highest(k.kept.Promised, k.host.InForce); e.Number > 0 {
		return fmt.Sprintf("it was served at epoch %s", e)
	}
	n := 0
	for _, name := range st.Settings.Voters {
		if v := k.views[name]; v != nil && v.any {
			n++
		}
	}
	for name, v := range k.views {
		if e := highest(v.said.Promised, v.said.InForce); v.any && e.Number > 0 {
			return fmt.Sprintf("%s knows of its epoch %s", name, e)
		}
	}
	if most := takeover.Majority(len(st.Settings.Voters)); n < most {
		return fmt.Sprintf("%d voters have said that they never heard of it, and %d have to", n, most)
	}
	return ""
}
