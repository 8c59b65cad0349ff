package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/readiness"
	"causeway/internal/supervise"
	"causeway/internal/takeover"
	meshtls "causeway/tls"
)

// newReadiness adds the checks that this node can make. What is the whole region's is
// said by the node that leads, the others skip it.
func (a *App) newReadiness() {
	a.ready = &readiness.Registry{}
	n := a.node()
	for _, c := range []readiness.Check{
		{Name: "state", Every: 5 * time.Second, Run: n.readyState},
		{Name: "services", Every: 5 * time.Second, Run: n.readyServices},
		{Name: "nodes", Every: 10 * time.Second, Run: n.readyNodes},
		{Name: "documents", Every: 5 * time.Second, Run: n.readyDocuments},
		{Name: "links", Every: 10 * time.Second, Run: n.readyLinks},
		{Name: "standby_lag", Every: 5 * time.Second, Run: n.readyStandbys},
		{Name: "voters", Every: 5 * time.Second, Run: n.readyVoters},
		{Name: "capacity", Every: 30 * time.Second, Run: n.readyCapacity},
		{Name: "certificates", Every: time.Minute, Run: n.readyCertificates},
		{Name: "crl", Every: 10 * time.Second, Run: n.readyCRL},
		{Name: "parity", Every: time.Minute, Within: 20 * time.Second, Run: n.readyParity},
		{Name: "hooks", Every: 15 * time.Minute, Within: time.Minute, Run: n.readyHooks},
		{Name: "backup", Every: 5 * time.Minute, Within: time.Minute, Run: n.readyBackups},
		{Name: "drill", Every: time.Minute, Run: n.readyDrill},
		{Name: "reconcile", Every: 30 * time.Second, Run: n.readyReconciled},
	} {
		a.ready.Add(c)
	}
}

func (n node) readyState(context.Context) readiness.Result {
	if ok, why := n.a.Ready(); !ok {
		return readiness.Fail("causeway ctl status", "the node is not ready: %s", why)
	}
	return readiness.OK("the node is ready")
}

// lately is how long a part that failed and runs again is worth a word.
const lately = 15 * time.Minute

// readyServices looks for parts of the node that fail.
func (n node) readyServices(context.Context) readiness.Result {
	all, found := n.a.tree.Status(), []readiness.Result{}
	for _, s := range all {
		switch {
		case s.State == supervise.StateIsolated, s.State == supervise.StateFailed, s.State == supervise.StateStuck:
			found = append(found, readiness.Fail(admin.RestartCommand(s.Name), "the service %s is %s after %d restarts: %s", s.Name, s.State, s.Restarts, s.LastError))
		case s.LastError != "" && time.Since(s.LastErrorAt) < lately:
			found = append(found, readiness.Warn("causeway ctl services; send causeway ctl doctor to who mends it", "the service %s failed, was restarted %d times and panicked %d times: %s", s.Name, s.Restarts, s.Panics, s.LastError))
		}
	}
	if len(found) == 0 {
		return readiness.OK("%d services run, none failed in the last %s", len(all), admin.FormatDuration(lately))
	}
	return readiness.Worst(found...)
}

// readyNodes looks at the votes of the region's own home.
func (n node) readyNodes(context.Context) readiness.Result {
	if n.a.cluster == nil {
		return readiness.Warn("add nodes: docs/runbooks/nodes.md", "the region is one node: its devices wait while it is away")
	}
	if r := n.a.home.current(); r == nil || !r.Leads() {
		return readiness.Skip("the node that leads looks")
	}
	c, err := n.Cluster()
	if err != nil {
		return readiness.Fail("causeway ctl cluster status", "the nodes are not known: %v", err)
	}
	var away []string
	votes := 0
	for _, x := range c.Nodes {
		if x.State == "leader" || x.State == "voter" {
			votes++
		}
		if !x.Alive && x.Node != n.a.cfg.Node {
			away = append(away, x.Node)
		}
	}
	switch {
	case c.Trouble != "":
		return readiness.Fail(c.Next, "%s", c.Trouble)
	case votes < c.Voters:
		return readiness.Fail("causeway ctl cluster status", "%d of %d votes are there", votes, c.Voters)
	case len(away) > 0:
		return readiness.Warn("causeway ctl cluster status", "not seen: %s", strings.Join(away, ", "))
	}
	return readiness.OK("%d votes, all nodes are seen", votes)
}

// readyDocuments looks whether this node understands what is configured of the homes it has copies of.
func (n node) readyDocuments(context.Context) readiness.Result {
	for _, h := range n.a.homes {
		if p := h.objects.inForce().problem; p != "" {
			return readiness.Fail(objectsFix, "%s", p)
		}
		if p := h.documents.problem(); p != "" {
			return readiness.Fail(documentsFix, "%s", p)
		}
	}
	return readiness.OK("all documents are understood")
}

func (n node) readyLinks(context.Context) readiness.Result {
	if len(n.a.cfg.Links) == 0 {
		return readiness.Skip("no links")
	}
	if !n.a.home.hosts() {
		return readiness.Skip("another region serves the home, and has its links")
	}
	var down, paused []string
	waits := n.unlinked()
	for _, l := range n.Links() {
		switch l.State {
		case admin.LinkElsewhere:
			return readiness.Skip("the node that leads has the links")
		case admin.LinkUp:
		case admin.LinkPaused:
			paused = append(paused, l.Peer)
		default:
			down = append(down, l.Peer+" ("+l.Reason+")")
		}
	}
	switch {
	case len(down) > 0:
		return readiness.Fail("causeway ctl link list", "down: %s", strings.Join(down, ", "))
	case len(waits) > 0:
		return readiness.Warn("causeway ctl region failback, once its own region is well", "what waits until the home is back in its region: %s", strings.Join(waits, ", "))
	case len(paused) > 0:
		return readiness.Warn("causeway ctl link resume "+paused[0], "paused: %s", strings.Join(paused, ", "))
	}
	return readiness.OK("all links are up")
}

// unlinked are the peers of other regions' homes, served here, to which this region has no link: brokers of another make,
// whose links are in the files of the home's own region, and regions that are not linked with this one.
func (n node) unlinked() (list []string) {
	for _, h := range n.a.homes[1:] {
		if !h.hosts() {
			continue
		}
		for _, p := range h.State().Peers() {
			linked := p.Peer == n.a.home.id || slices.ContainsFunc(n.a.cfg.RegionLinks(), func(l *config.Link) bool { return l.Peer == string(p.Peer) })
			if !linked && p.Filters > 0 {
				list = append(list, fmt.Sprintf("%d messages of home %s for %s", p.Spooled, h.id, p.Peer))
			}
		}
	}
	return list
}

// readyStandbys looks at what would be lost or late if this region failed now.
func (n node) readyStandbys(context.Context) readiness.Result {
	const late, far = 5 * time.Second, time.Minute
	served, found := false, []readiness.Result{}
	for _, h := range n.Status().Homes {
		if h.Role != admin.RoleHome {
			continue
		}
		served = true
		if !h.Leading {
			continue
		}
		best := -1
		for i, s := range h.Standbys {
			if s.Connected && (best < 0 || s.LagSeconds < h.Standbys[best].LagSeconds) {
				best = i
			}
		}
		next := "causeway ctl region show " + h.ID
		switch {
		case len(h.Standbys) == 0:
			found = append(found, readiness.Warn("list a standby: docs/failover.md", "the home %s has no standby: if this region is gone, it is", h.ID))
		case best < 0:
			found = append(found, readiness.Fail(next, "the home %s is on no standby: %s", h.ID, h.Standbys[0].Line()))
		case h.Standbys[best].LagSeconds.Duration() > far:
			found = append(found, readiness.Fail(next, "home %s: %s", h.ID, h.Standbys[best].Line()))
		case h.Standbys[best].LagSeconds.Duration() > late:
			found = append(found, readiness.Warn(next, "home %s: %s", h.ID, h.Standbys[best].Line()))
		default:
			found = append(found, readiness.OK("home %s: %s", h.ID, h.Standbys[best].Line()))
		}
	}
	switch {
	case !served:
		return readiness.Skip("no home is served here")
	case len(found) == 0:
		return readiness.Skip("the node that leads looks")
	}
	return readiness.Worst(found...)
}

// readyVoters asks whether a majority would be left without the host of each home.
func (n node) readyVoters(context.Context) readiness.Result {
	d := n.a.deciding
	if d == nil {
		return readiness.Skip("no region stands by another")
	}
	if !d.AtWork() {
		return readiness.Skip("the node that decides looks")
	}
	found := []readiness.Result{}
	for _, h := range d.Homes() {
		s := &h.Copy.Settings
		if len(s.Standbys) == 0 && h.Role != "host" {
			continue
		}
		votes, left, silent := len(s.Voters), 0, []string{}
		for _, name := range s.Voters {
			heard := name == n.a.cfg.Region
			for _, v := range h.Voters {
				heard = heard || v.Voter == name && v.Heard >= 0 && v.Heard < s.DownAfter
			}
			if !heard {
				silent = append(silent, name)
			}
			if heard && name != h.Copy.Epoch.Host {
				left++
			}
		}
		next := "causeway ctl region show " + string(h.Home)
		switch {
		case votes == 0:
			continue
		case left <= votes/2 && n.a.region().Takeover.Mode == config.TakeoverAuto:
			found = append(found, readiness.Fail(next, "without %s only %d of %d voters of home %s could promise it; not heard: %s", h.Copy.Epoch.Host, left, votes, h.Home, orNone(silent)))
		case takeover.ListID(s.Voters) != takeover.ListID(n.a.region().Voters()):
			found = append(found, readiness.Warn(next, "home %s has the voters %s, this node's file says %s: the host's file counts, one change at a time", h.Home, strings.Join(s.Voters, ", "), strings.Join(n.a.region().Voters(), ", ")))
		case len(silent) > 0:
			found = append(found, readiness.Warn(next, "voters of home %s that are not heard: %s", h.Home, strings.Join(silent, ", ")))
		default:
			found = append(found, readiness.OK("all %d voters of home %s are heard", votes, h.Home))
		}
	}
	if len(found) == 0 {
		return readiness.Skip("no home has voters")
	}
	return readiness.Worst(found...)
}

// headroom is what of a bound may be taken before it is worth a warning.
const headroom = 0.8

// readyCapacity asks whether the region could serve the homes that it stands by for, too.
func (n node) readyCapacity(context.Context) readiness.Result {
	found := []readiness.Result{n.roomForSessions(), n.roomOnDisk(), roomInMemory()}
	found = slices.DeleteFunc(found, func(r readiness.Result) bool { return r.State == readiness.StateSkip })
	if len(found) == 0 {
		return readiness.Skip("nothing is known of this machine")
	}
	worst := readiness.Worst(found...)
	if worst.State == readiness.StateOK {
		var all []string
		for _, f := range found {
			all = append(all, f.Reason)
		}
		worst.Reason = strings.Join(all, "; ")
	}
	return worst
}

func (n node) roomForSessions() readiness.Result {
	a := n.a
	if len(a.homes) < 2 {
		return readiness.Skip("no home is stood by for")
	}
	most, all := a.region().Takeover.Sessions, 0
	for _, h := range a.homes {
		if r := h.current(); r != nil {
			for _, c := range r.State().SessionCounts() {
				all += c.Attached + c.Detached
			}
		}
	}
	const fix = "set takeover.sessions to what this region was measured to serve: docs/sizing.md"
	switch {
	case most == 0:
		return readiness.Warn(fix, "takeover.sessions says of no bound: whether this region can serve %d sessions is not known", all)
	case all > most:
		return readiness.Fail("add nodes and raise takeover.sessions, or move homes to other standbys", "%d sessions of all homes here, and room for %d", all, most)
	case float64(all) > headroom*float64(most):
		return readiness.Warn("add nodes and raise takeover.sessions", "%d sessions of all homes here are %d%% of the %d there is room for", all, 100*all/most, most)
	}
	return readiness.OK("%d sessions of all homes here, room for %d", all, most)
}

func (n node) roomOnDisk() readiness.Result {
	s, ok := n.a.measure()
	if !ok {
		return readiness.Skip("the disk is not measured")
	}
	used := s.size - s.free
	switch {
	case s.free < s.reserve/2 || s.free < s.size/20:
		return readiness.Fail("grow the disk of "+n.a.cfg.Node, "the disk has %s of %s left", admin.FormatBytes(int64(s.free)), admin.FormatBytes(int64(s.size)))
	case float64(used) > headroom*float64(s.size):
		return readiness.Warn("grow the disk of "+n.a.cfg.Node, "the disk is %d%% full: a failover adds another region's queues", 100*used/s.size)
	}
	return readiness.OK("the disk has %s left", admin.FormatBytes(int64(s.free)))
}

// roomInMemory reads what Linux says; elsewhere it skips.
func roomInMemory() readiness.Result {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return readiness.Skip("memory is not measured")
	}
	var total, available int64
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "MemTotal: %d kB", &total)
		_, _ = fmt.Sscanf(line, "MemAvailable: %d kB", &available)
	}
	switch {
	case total == 0:
		return readiness.Skip("memory is not measured")
	case available < total/20:
		return readiness.Fail("give the machine more memory, or it fewer things to do", "%s of %s memory is available", admin.FormatBytes(available<<10), admin.FormatBytes(total<<10))
	case float64(available) < (1-headroom)*float64(total):
		return readiness.Warn("give the machine more memory", "%s of %s memory is available: a failover needs about 16 KiB a device", admin.FormatBytes(available<<10), admin.FormatBytes(total<<10))
	}
	return readiness.OK("%s memory is available", admin.FormatBytes(available<<10))
}

// Certificates warn below a third of their time and a month, and block below a tenth and a week:
// some live for a day, and are renewed by a program.
func validity(where string, c admin.Certificate, now time.Time) readiness.Result {
	life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(now)
	const day = 24 * time.Hour
	text := fmt.Sprintf("%s: the certificate %s ends in %s", where, c.Name, admin.FormatDuration(left))
	const fix = "issue it anew: docs/runbooks/rotate-ca.md; nodes read it without a restart"
	switch {
	case left <= 0:
		return readiness.Fail(fix, "%s: the certificate %s has ended", where, c.Name)
	case left < min(7*day, life/10):
		return readiness.Fail(fix, "%s", text)
	case left < min(30*day, life/3):
		return readiness.Warn(fix, "%s", text)
	}
	return readiness.OK("%s", text)
}

// readyCertificates looks at this node's own, and where it leads at those of the regions that it
// has links to.
func (n node) readyCertificates(ctx context.Context) readiness.Result {
	now := time.Now()
	var found []readiness.Result
	soonest := time.Duration(1<<63 - 1)
	note := func(where string, list []admin.Certificate) {
		for _, c := range list {
			found = append(found, validity(where, c, now))
			soonest = min(soonest, c.NotAfter.Sub(now))
		}
	}
	note("node "+n.a.cfg.Node, n.a.certificates())
	for region, f := range n.regionFacts(ctx) {
		if f.err == nil {
			note("region "+region, f.Certificates)
		}
	}
	if len(found) == 0 {
		return readiness.Skip("this node uses no certificate")
	}
	if worst := readiness.Worst(found...); worst.State != readiness.StateOK {
		return worst
	}
	return readiness.OK("%d certificates, the first ends in %s", len(found), admin.FormatDuration(soonest))
}

// readyParity compares what has to be the same on all nodes of the region, and at a home's standbys.
func (n node) readyParity(ctx context.Context) readiness.Result {
	mine := n.a.digests()
	var differ, unknown []string
	compare := func(where string, theirs []admin.FactDigest, wanted func(string) bool) {
		for _, d := range mine {
			has := func(name string) int {
				return slices.IndexFunc(theirs, func(o admin.FactDigest) bool { return o.Name == name })
			}
			i := has(d.Name)
			if wanted(d.Name) && has(ofObjects+d.Name) < 0 && (i < 0 || theirs[i].SHA256 != d.SHA256) {
				differ = append(differ, where+": "+d.Name)
			}
		}
	}
	for _, m := range n.a.members() {
		if !m.Alive || m.Node == n.a.cfg.Node {
			continue
		}
		f, err := n.nodeFacts(ctx, m.Node)
		if err != nil {
			unknown = append(unknown, "node "+m.Node)
			continue
		}
		compare("node "+m.Node, f.Digests, func(string) bool { return true })
	}
	for region, f := range n.regionFacts(ctx) {
		switch {
		case f.err != nil:
			unknown = append(unknown, "region "+region)
		case n.a.exchangesHomes(region):
			compare("region "+region, f.Digests, betweenRegions)
		}
	}
	slices.Sort(differ)
	slices.Sort(unknown)
	switch {
	case len(differ) > 0:
		return readiness.Fail("make the files equal: devices would be refused, or served otherwise, after a failover", "not as here: %s", strings.Join(differ, ", "))
	case len(unknown) > 0:
		return readiness.Warn("see whether they run", "not compared: %s", strings.Join(unknown, ", "))
	}
	return readiness.OK("configuration, users and access rules are the same everywhere")
}

// ofObjects is before the name of what region objects say: they go with the home to where it is served.
const ofObjects = "objects "

// betweenRegions says what has to be the same at a home's host and its standbys.
func betweenRegions(name string) bool {
	return name != "residency" && !strings.HasPrefix(name, ofObjects) // each region's own
}

// exchangesHomes says that a region stands by for this one, or this one for it.
func (a *App) exchangesHomes(region string) bool {
	return slices.Contains(a.cfg.Hosts(a.cfg.Region), region) || slices.Contains(a.cfg.StandbyOf(), region)
}

func (n node) readyHooks(ctx context.Context) readiness.Result {
	if n.a.deciding == nil {
		return readiness.Skip("no region stands by another")
	}
	tried, err := n.a.deciding.TryHooks(ctx)
	switch {
	case err != nil:
		return readiness.Fail("run it by hand with what docs/failover.md says it reads", "%v", err)
	case tried == 0:
		return readiness.Warn("set takeover.hooks.promote to a program that tells DNS or the load balancer", "no hook is set: devices find the other region only if they know its address")
	}
	return readiness.OK("%d hooks were tried without effect", tried)
}

func (n node) readyReconciled(context.Context) readiness.Result {
	for _, h := range n.a.homes {
		list, err := n.a.retired(h)
		if err != nil {
			continue // the data directory is not open yet
		}
		if len(list) > 0 {
			return readiness.Warn("causeway ctl reconcile show "+string(h.id), "%d copies of home %s are set aside and not reconciled", len(list), h.id)
		}
	}
	return readiness.OK("nothing is set aside")
}

// readyBackups looks at the place for the newest backup of each home that this node leads.
func (n node) readyBackups(ctx context.Context) readiness.Result {
	b := &n.a.cfg.Backup
	var found []readiness.Result
	for _, h := range n.a.homes {
		if r := h.current(); r == nil || !r.Hosting() || !r.Leads() {
			continue
		}
		if b.To == "" {
			return readiness.Warn("set backup.to and backup.every: docs/backup.md", "no backups are made: what a mistake removes is gone in every copy")
		}
		at, err := n.a.backups.newest(ctx, h.id)
		if err != nil {
			found = append(found, readiness.Fail("look at the place and its hook: docs/backup.md", "the backups of home %s at %s: %v", h.id, b.To, err))
			continue
		}
		found = append(found, backupAge(string(h.id), at, time.Now(), b.MaxAge, time.Since(n.a.started)))
	}
	if len(found) == 0 {
		return readiness.Skip("the node that leads looks")
	}
	return readiness.Worst(found...)
}

// backupAge judges the newest backup of a home; one that has none yet gets the time that a backup may be old.
func backupAge(home string, at, now time.Time, limit, up time.Duration) readiness.Result {
	const fix = "causeway ctl backup create; causeway ctl backup jobs says why the last one failed"
	age := now.Sub(at)
	switch {
	case at.IsZero() && up < limit:
		return readiness.Warn(fix, "home %s has no backup yet", home)
	case at.IsZero():
		return readiness.Fail(fix, "home %s has no backup", home)
	case age > limit:
		return readiness.Fail(fix, "the newest backup of home %s is %s old, more than backup.max_age %s", home, admin.FormatDuration(age), admin.FormatDuration(limit)).Aged(age)
	}
	return readiness.OK("the newest backup of home %s is %s old", home, admin.FormatDuration(age)).Aged(age)
}

// readyDrill looks at the drills that the region keeps.
func (n node) readyDrill(context.Context) readiness.Result {
	if r := n.a.home.current(); r == nil || !r.Leads() {
		return readiness.Skip("the node that leads looks")
	}
	all, err := n.Drills()
	if err != nil {
		return readiness.Skip("the home is not open")
	}
	return lastDrill(all, time.Now())
}

// drillEvery is a quarter, and a little more.
const drillEvery = 100 * 24 * time.Hour

// lastDrill judges the last one that has ended of drills, the newest first.
func lastDrill(all []admin.Drill, now time.Time) readiness.Result {
	const again = "hold one: causeway ctl drill check, then run; docs/drills.md"
	i := slices.IndexFunc(all, func(d admin.Drill) bool { return d.Ended != nil })
	if i < 0 {
		return readiness.Warn(again, "no drill was held here: what a disaster takes is not known")
	}
	d := &all[i]
	age := now.Sub(*d.Ended)
	when := admin.FormatDuration(age) + " ago"
	switch {
	case d.Outcome != "done":
		return readiness.Warn("causeway ctl drill report "+d.ID, "the last drill, %s, %s, is %s: %s", d.ID, when, d.Outcome, cmp.Or(d.Why, strings.Join(d.Missed, ", "))).Aged(age)
	case age > drillEvery:
		return readiness.Warn(again, "the last drill, %s, was %s", d.ID, when).Aged(age)
	}
	return readiness.OK("the last drill, %s, %s, met its goals", d.ID, when).Aged(age)
}

// facts are what other nodes and regions compare.
func (a *App) facts() admin.ReadinessFacts {
	return admin.ReadinessFacts{Certificates: a.certificates(), CRLs: a.revocationLists(), Digests: a.digests()}
}

// certificates are those that the node was told to use, as their files are now.
func (a *App) certificates() (list []admin.Certificate) {
	add := func(name, file string) {
		infos, err := meshtls.Describe(file)
		if file == "" || err != nil || len(infos) == 0 {
			return
		}
		i := infos[0]
		for _, o := range infos { // of a bundle of authorities the one that ends last: it is what a rotation adds
			if i.Authority && o.NotAfter.After(i.NotAfter) {
				i = o
			}
		}
		list = append(list, admin.Certificate{Name: name, NotBefore: i.NotBefore, NotAfter: i.NotAfter, DaysLeft: i.DaysLeft})
	}
	add("node", a.cfg.Identity.Cert)
	add("authority", a.cfg.Identity.CA)
	for _, l := range a.cfg.Listeners {
		add("listener "+l.Name, l.TLS.Cert)
		for _, ca := range l.TLS.ClientCA {
			add("devices of "+l.Name, ca)
		}
	}
	return list
}

// digests are of what has to be the same elsewhere. Programs that are a node's own, such as hooks,
// are none of it.
func (a *App) digests() (list []admin.FactDigest) {
	in := a.home.objects.inForce()
	add := func(name string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			b = []byte(err.Error())
		}
		sum := sha256.Sum256(b)
		if in.objects.Has(name) {
			name = ofObjects + name
		}
		list = append(list, admin.FactDigest{Name: name, SHA256: hex.EncodeToString(sum[:])})
	}
	t := in.cfg.Takeover
	t.Hooks, t.Sessions, t.Isolation, t.Admission = config.Hooks{}, 0, "", 0
	regions := slices.Clone(a.cfg.Regions)
	for i := range regions {
		regions[i].Dial = nil // each reaches a witness in its own way
	}
	add("regions", regions)
	add("takeover", t)
	add("ack", in.cfg.Ack)
	add("limits", in.cfg.Limits)
	add("residency", in.cfg.Residency)
	add("shared", in.cfg.Shared)
	for name, file := range map[string]string{"users": a.cfg.Auth.PasswordFile, "acl": a.cfg.Auth.ACLFile} {
		b, err := os.ReadFile(file)
		if file == "" || err != nil {
			b = nil
		}
		add(name, b)
	}
	slices.SortFunc(list, func(x, y admin.FactDigest) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// nodeFacts asks another node of the region.
func (n node) nodeFacts(ctx context.Context, name string) (admin.ReadinessFacts, error) {
	var said admin.Readiness
	if err := n.a.ask(ctx, name, http.MethodGet, admin.Path("readiness"), nil, nil, &said); err != nil {
		return admin.ReadinessFacts{}, err
	}
	if len(said.Facts) == 0 {
		return admin.ReadinessFacts{}, errors.New("it tells nothing of itself")
	}
	return said.Facts[0], nil
}

// kindFacts is the call by which regions ask each other.
const kindFacts byte = 4

// regionFacts is what one region said, or why it did not.
type regionFacts struct {
	admin.ReadinessFacts
	err error
}

// regionFacts asks the regions that the home has links to. Only the node that leads can.
func (n node) regionFacts(ctx context.Context) map[string]regionFacts {
	out := map[string]regionFacts{}
	if r := n.a.home.current(); r == nil || !r.Leads() || n.a.home.links == nil {
		return out
	}
	for _, l := range n.a.cfg.RegionLinks() {
		var f regionFacts
		within, cancel := context.WithTimeout(ctx, 3*time.Second)
		b, err := caller{n.a}.Call(within, l.Peer, kindFacts, nil)
		cancel()
		if f.err = err; err == nil {
			f.err = json.Unmarshal(b, &f.ReadinessFacts)
		}
		out[l.Peer] = f
	}
	return out
}
