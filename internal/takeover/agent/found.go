package agent

import (
	"fmt"
	"slices"
	"strings"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// A region whose own home is empty may be new, or may have lost all its disks while another region
// has a copy, or serves. Founded anew the home would begin at its first epoch once more, and what
// it acknowledged would be no part of the one there is. So it is founded only once enough others said
// that they never heard of it, or an operator said so. What this region itself says counts nothing: its
// vote may have gone with its disks. Enough are as many as make a majority with it; and a home gets
// standbys only when so many others know of it that one of them is among any who are enough (Known).

// MayFound says whether the region may found its own home, which is empty. It is cheap and may be
// called from any goroutine.
func (a *Agent) MayFound(id home.ID) bool {
	k := a.keepers[id]
	return k != nil && a.atWork.Load() && k.founds.Load()
}

// Known says that so many other voters know of the home's epoch that this region, had it lost all its
// disks, could not found it a second time.
func (a *Agent) Known(id home.ID) bool {
	k := a.keepers[id]
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if takeover.Majority(len(k.copy.Settings.Voters)) == 1 {
		return true // standbys hear of it with the copy, and all of them are asked
	}
	others, enough := k.otherVoters(&k.copy.Settings)
	for _, name := range others {
		if v := k.views[name]; v != nil && v.any && highest(v.said.Promised, v.said.InForce).Compare(k.copy.Epoch) >= 0 {
			enough++
		}
	}
	return enough > len(others)
}

// otherVoters are the voters beside this region, and how many of them make a majority with it.
// Where it alone votes all its standbys are asked.
func (k *keeper) otherVoters(s *Settings) (others []string, enough int) {
	others = slices.DeleteFunc(slices.Clone(s.Voters), func(v string) bool { return v == k.a.o.Region })
	if enough = takeover.Majority(len(s.Voters)) - 1; enough > 0 {
		return others, enough
	}
	return s.Standbys, len(s.Standbys)
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
	others, enough := k.otherVoters(&st.Settings)
	for _, name := range others {
		if v := k.views[name]; v != nil && v.any {
			n++
		}
	}
	for name, v := range k.views {
		if e := highest(v.said.Promised, v.said.InForce); v.any && e.Number > 0 {
			return fmt.Sprintf("%s knows of its epoch %s", name, e)
		}
	}
	if len(others) == 0 {
		return "it is not open yet, so who else may have it is not known"
	}
	if n < enough {
		return fmt.Sprintf("%d of %s have said that they never heard of it, and %d have to", n, strings.Join(others, ", "), enough)
	}
	return ""
}
