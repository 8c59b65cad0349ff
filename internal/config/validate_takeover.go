package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (t *Takeover) fill(unset func(string) bool) {
	if unset("takeover.hold") {
		t.Hold = t.DownAfter / 10 * 9
	}
	if unset("takeover.lease") {
		t.Lease = t.DownAfter / 10 * 8
	}
	if unset("takeover.isolation") && t.Mode == TakeoverAuto {
		t.Isolation = IsolationSelfFence
	}
}

func (c *Config) fillRegions(unset func(string) bool) {
	for i := range c.Regions {
		if r := &c.Regions[i]; unset(fmt.Sprintf("regions[%d].vote", i)) {
			r.Vote = !r.Leaf
		}
	}
}

// maxRegions bounds the list: each region of it is asked for votes.
const maxRegions = 64

// regions checks who stands by whom and who votes.
func (v *validator) regions(c *Config) {
	v.check(len(c.Regions) <= maxRegions, "regions", fmt.Sprintf("has %d items", len(c.Regions)), fmt.Sprintf("want at most %d", maxRegions))
	for i, r := range c.Regions {
		key := fmt.Sprintf("regions[%d].", i)
		v.name(key+"name", r.Name)
		v.regionRole(key, r, c)
		for j, of := range r.StandbyOf {
			at := fmt.Sprintf("%sstandby_of[%d]", key, j)
			v.name(at, of)
			v.check(of != r.Name, at, fmt.Sprintf("%q is the region itself", of), "name the region whose home it takes over")
			v.check(!slices.Contains(r.StandbyOf[:j], of), at, fmt.Sprintf("%q is listed twice", of), "keep one of them")
			known := c.region(of)
			v.check(known != nil && !known.Witness && !known.Leaf, at, fmt.Sprintf("%q is no item of regions that has a home to take over", of), "add it to the list")
		}
	}
	v.unique("regions", "name", len(c.Regions), func(i int) string { return c.Regions[i].Name })
	if len(c.Regions) > 0 {
		v.check(c.region(c.Region) != nil, "regions", fmt.Sprintf("lacks %q, this region itself", c.Region), "add it: the same list belongs into the files of all regions")
	}
	v.partners(c)
}

func (v *validator) regionRole(key string, r Region, c *Config) {
	switch {
	case r.Witness:
		v.check(!r.Leaf && len(r.StandbyOf) == 0, key+"witness", "is set, and a witness has no home and no copy of one", "remove leaf and standby_of, or witness")
		v.check(r.Vote, key+"vote", "is false, and a witness does nothing but vote", "remove vote")
		for j, raw := range r.Dial {
			u, err := url.Parse(raw)
			ok := err == nil && (u.Scheme == "udp" || u.Scheme == "tcp") && u.Hostname() != "" && raw == u.Scheme+"://"+u.Host && validPort(u.Port())
			v.check(ok, fmt.Sprintf("%sdial[%d]", key, j), fmt.Sprintf("%q is no address of a witness", raw), "want udp://HOST:PORT, or tcp://HOST:PORT for where UDP does not get through")
		}
	case r.Leaf:
		v.check(!r.Vote, key+"vote", "is true, and a leaf has no say in what other regions decide", "remove vote, or leaf")
		v.check(len(r.StandbyOf) == 0, key+"standby_of", "is set, and a leaf takes no home over", "remove standby_of, or leaf")
	}
	v.check(r.Witness || len(r.Dial) == 0, key+"dial", "is set, and the addresses of a region are in links", "move them to links[].dial")
	if r.Name == c.Region {
		v.check(r.Leaf == c.Leaf || r.Witness, key+"leaf", fmt.Sprintf("is %v, and this region's leaf is %v", r.Leaf, c.Leaf), "write the same in both")
	}
}

// partners checks that this region reaches whom it has to ask and to copy.
func (v *validator) partners(c *Config) {
	us := c.region(c.Region)
	if us == nil || us.Witness {
		return
	}
	for i, r := range c.Regions {
		concerned := r.Vote && (us.Vote || len(us.StandbyOf) > 0) || slices.Contains(r.StandbyOf, c.Region) || slices.Contains(us.StandbyOf, r.Name)
		if r.Witness || r.Name == c.Region || !concerned {
			continue
		}
		linked := slices.ContainsFunc(c.RegionLinks(), func(l *Link) bool { return l.Peer == r.Name })
		v.check(linked, fmt.Sprintf("regions[%d].name", i), fmt.Sprintf("there is no link from %s to %q", c.Region, r.Name),
			"add the link: votes and copies go through it; with in and out empty no messages cross")
	}
}

// takeover checks the times and who may decide.
func (v *validator) takeover(c *Config) {
	t := c.Takeover
	oneOf(v, "takeover.isolation", t.Isolation, IsolationServe, IsolationSelfFence)
	oneOf(v, "takeover.standby_away", t.StandbyAway, StandbyDegrade, StandbyWait)
	v.duration("takeover.down_after", t.DownAfter, 2*time.Second, time.Hour)
	v.check(t.Hold <= t.DownAfter, "takeover.hold", fmt.Sprintf("%s is longer than down_after, %s", FormatDuration(t.Hold), FormatDuration(t.DownAfter)),
		"want it shorter: before that no voter agrees to another host")
	v.check(t.Lease >= time.Second && t.Lease <= t.Hold/100*95, "takeover.lease", fmt.Sprintf("%s is not a twentieth below hold, %s", FormatDuration(t.Lease), FormatDuration(t.Hold)),
		"want at least 1s, and hold longer by what two clocks may differ: leave both out, or give hold = 1.1 lease")
	v.duration("takeover.will_grace", t.WillGrace, 0, time.Hour)
	v.check(t.Admission >= 0, "takeover.admission", "is negative", "want a rate such as 5000/s, or 0 for no bound")
	v.count("takeover.sessions", t.Sessions, 0, 1<<31)
	v.duration("takeover.hooks.timeout", t.Hooks.Timeout, time.Second, 10*time.Minute)
	for _, h := range []struct{ key, path string }{{"promote", t.Hooks.Promote}, {"fence", t.Hooks.Fence}} {
		v.check(h.path == "" || strings.HasPrefix(h.path, "/"), "takeover.hooks."+h.key, fmt.Sprintf("%q is no absolute path", h.path),
			"name the program by its whole path; it is run without a shell and gets JSON on its standard input")
	}
	if oneOf(v, "takeover.mode", t.Mode, TakeoverManual, TakeoverAuto) && t.Mode == TakeoverAuto {
		v.auto(c)
	}
}

// auto checks that a majority can decide although a region is gone.
func (v *validator) auto(c *Config) {
	voters := c.Voters()
	if us := c.region(c.Region); us != nil && us.Witness {
		return
	}
	switch {
	case len(c.Standbys(c.Region)) == 0 && len(c.StandbyOf()) == 0:
		v.add("takeover.mode", "is auto, and no region is a standby of another here", "list regions with standby_of, or write mode: manual")
	case !c.HasVote():
		v.add("takeover.mode", fmt.Sprintf("is auto, and %s has no vote", c.Region), "write vote: true for it in regions, or mode: manual")
	case len(voters) < 3:
		v.add("takeover.mode", fmt.Sprintf("is auto with %d voters: when one of two regions is gone the other cannot tell that from a cut between them", len(voters)),
			"add a witness in a third place to regions (causeway witness), or write mode: manual")
	}
	v.check(c.Takeover.Isolation == IsolationSelfFence, "takeover.isolation", "is serve, and mode is auto: others may take the home over while it serves",
		"remove isolation, or write mode: manual")
}

// Warnings are what is allowed and probably not meant.
func (c *Config) Warnings() (list []string) {
	if n := len(c.Voters()); n > 0 && n%2 == 0 && c.Takeover.SelfFences() {
		list = append(list, fmt.Sprintf("regions: %d voters tolerate no more losses than %d; add a witness, or take a vote away", n, n-1))
	}
	return list
}

// ValidateWitness checks the file of a witness, which has no devices, no home and no links.
func (c *Config) ValidateWitness() error {
	v := &validator{addresses: map[string]string{}}
	v.name("region", c.Region)
	v.check(c.DataDir != "", "data_dir", "is empty", "name a folder this witness may write to")
	for _, file := range []struct{ key, path string }{{"cert", c.Identity.Cert}, {"key", c.Identity.Key}, {"ca", c.Identity.CA}} {
		v.check(file.path != "", "identity."+file.key, "is missing", "regions know a witness by its certificate: causeway ca issue --region NAME --node NAME-1 makes it")
	}
	v.check(len(c.Links) == 0, "links", "is set, and a witness has none", "list the regions with their addresses in regions[].dial, if the witness has to dial them")
	v.check(!c.Cluster.Configured(), "cluster", "is set, and a witness is one process", "remove it; for more voters run more witnesses, each in a place of its own")
	us := c.region(c.Region)
	v.check(us != nil && us.Witness, "regions", fmt.Sprintf("has no item %q with witness: true", c.Region), "the same list belongs into the files of all regions and witnesses")
	v.witnessRegions(c)
	v.takeover(c)
	v.endpoints(c)
	return joinProblems(v.problems)
}

func (v *validator) witnessRegions(c *Config) {
	reachable := c.Link.Listen != "" || c.Link.ListenTCP != ""
	for i, r := range c.Regions {
		key := fmt.Sprintf("regions[%d].", i)
		v.name(key+"name", r.Name)
		for j, raw := range r.Dial {
			u, err := url.Parse(raw)
			ok := err == nil && (u.Scheme == "udp" || u.Scheme == "tcp") && raw == u.Scheme+"://"+u.Host && validPort(u.Port())
			v.check(ok, fmt.Sprintf("%sdial[%d]", key, j), fmt.Sprintf("%q is no address", raw), "want udp://HOST:PORT or tcp://HOST:PORT")
		}
		reachable = reachable || len(r.Dial) > 0
	}
	v.unique("regions", "name", len(c.Regions), func(i int) string { return c.Regions[i].Name })
	v.check(reachable, "link.listen", "is empty, and no region is dialled: nobody can ask this witness", "set link.listen, or regions[].dial")
}

func (v *validator) handover(h Handover) {
	v.duration("handover.min_dwell", h.MinDwell, 0, 30*24*time.Hour)
	oneOf(v, "handover.unreachable", h.Unreachable, UnreachableRefuse, UnreachableCreate)
}
