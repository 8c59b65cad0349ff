package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
)

var _ interface {
	admin.Objects
	admin.Tokens
	admin.Users
} = node{}

func isStandby(err error) bool { return errors.Is(err, replica.ErrStandby) }

// Objects implements admin.Objects.
func (n node) Objects(section string, all bool, revision uint64) (out admin.ObjectsText, err error) {
	if _, err := n.state(); err != nil {
		return out, err
	}
	f := n.h.objects.inForce()
	var doc home.Document
	if revision != 0 {
		if doc, err = n.revision(revision); err != nil {
			return out, err
		}
	} else {
		doc, _ = n.h.documents.get(objectsDoc)
		out.Problem, out.Trying = f.problem, f.trying
	}
	out.Revision, out.By, out.Note, out.Text = doc.Revision, doc.By, doc.Note, string(doc.Body)
	if at := wall(n.h, doc.At); at != nil {
		out.At = *at
	}
	parsed, perr := config.ParseObjects("objects", doc.Body)
	if perr == nil {
		out.Sections = parsed.Sections()
	}
	if section == "" && !all {
		return out, nil
	}
	cfg := f.cfg
	if revision != 0 {
		if cfg, err = parsed.Over(n.a.nodeConfig()); perr != nil || err != nil {
			return out, admin.Refuse("invalid", fmt.Sprintf("revision %d does not fit this node any more: %v", revision, errors.Join(perr, err)), "look at its text without a section")
		}
	}
	b, err := config.RegionYAML(cfg, section)
	if err != nil {
		return out, admin.BadRequest(err.Error(), "name one of them, or none")
	}
	out.Text = string(b)
	return out, nil
}

// revision finds a revision of the objects that is kept.
func (n node) revision(rev uint64) (home.Document, error) {
	for _, d := range n.h.documents.history(objectsDoc) {
		if d.Revision == rev {
			return d, nil
		}
	}
	return home.Document{}, fmt.Errorf("%w: revision %d is not kept; causeway ctl history lists those that are", admin.ErrNotFound, rev)
}

// ObjectsHistory implements admin.Objects.
func (n node) ObjectsHistory() (list []admin.ObjectsRevision, err error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	now, _ := n.h.documents.get(objectsDoc)
	for _, d := range slices.Backward(n.h.documents.history(objectsDoc)) {
		r := admin.ObjectsRevision{Revision: d.Revision, By: d.By, Note: d.Note, Bytes: len(d.Body), Removed: len(d.Body) == 0, InForce: d.Revision == now.Revision}
		if at := wall(n.h, d.At); at != nil {
			r.At = *at
		}
		list = append(list, r)
	}
	return list, nil
}

// proposal is a file that was judged, and what it changes.
type proposal struct {
	file *config.Objects // nil: it removes the objects
	doc  home.Document   // in force
	list []config.Difference
}

// judgeFile judges a file whole and compares it with the objects in force; what a rollout tries is none of them.
func (n node) judgeFile(f admin.ObjectsFile) (p proposal, err error) {
	if _, err := n.state(); err != nil {
		return p, err
	}
	base := n.a.nodeConfig()
	p.doc, _ = n.h.documents.get(objectsDoc)
	have := base
	if len(p.doc.Body) > 0 {
		old, err := config.ParseObjects("objects in force", p.doc.Body)
		if err == nil {
			have, _ = old.Over(base)
		}
	}
	want := base
	if strings.TrimSpace(f.Text) != "" {
		if len(f.Text) > home.MaxDocument {
			return p, admin.BadRequest(fmt.Sprintf("the file has %d bytes, at most %d are kept", len(f.Text), home.MaxDocument), "use wildcards in rules, and keep users out of it (causeway ctl users)")
		}
		name := f.Name
		if name == "" {
			name = "objects"
		}
		next, err := n.h.objects.build(base, home.Document{Name: name, Revision: 1, Body: []byte(f.Text)})
		if err != nil {
			return p, admin.BadRequest(err.Error(), "correct the file; nothing was changed")
		}
		if want = next.cfg; n.h.own() && want.Handover.Enabled != base.Handover.Enabled {
			return p, admin.BadRequest(fmt.Sprintf("%s: handover.enabled: is %t, and %t in the node file: a node takes it up as it starts", name, want.Handover.Enabled, base.Handover.Enabled),
				"say it in the node files of the region, restart the nodes one by one, then say the same here")
		}
		p.file = next.objects
	}
	p.list = config.Differences(have, want)
	return p, nil
}

func (p *proposal) change() admin.ObjectsChange {
	c := admin.ObjectsChange{Revision: p.doc.Revision}
	for _, d := range p.list {
		c.Diff = append(c.Diff, admin.ObjectsDiff{Key: d.Key, From: d.From, To: d.To, Home: !d.Node()})
		c.Effects = append(c.Effects, diffLine(d))
	}
	if len(p.list) == 0 {
		c.Effects = append(c.Effects, "nothing is another one than now")
	}
	return c
}

func diffLine(d config.Difference) string {
	switch {
	case d.From == "":
		return "+ " + d.Key + ": " + d.To
	case d.To == "":
		return "- " + d.Key + ": " + d.From
	}
	return "~ " + d.Key + ": " + d.From + " -> " + d.To
}

// DiffObjects implements admin.Objects.
func (n node) DiffObjects(f admin.ObjectsFile) (admin.ObjectsChange, error) {
	p, err := n.judgeFile(f)
	if err != nil {
		return admin.ObjectsChange{}, err
	}
	return p.change(), nil
}

// Bounds and defaults of a watch.
const (
	usualWatch = 5 * time.Minute
	leastWatch = 2 * time.Second
	mostWatch  = 24 * time.Hour
)

// ApplyObjects implements admin.Objects.
func (n node) ApplyObjects(ctx context.Context, f admin.ObjectsFile, o admin.ApplyOptions) (admin.ObjectsChange, error) {
	p, err := n.judgeFile(f)
	if err != nil {
		return admin.ObjectsChange{}, err
	}
	if o.Seen != "" && o.Seen != fmt.Sprint(p.doc.Revision) {
		return admin.ObjectsChange{}, admin.Refuse("changed", fmt.Sprintf("revision %d is in force, and you compared with %s", p.doc.Revision, o.Seen), "look at causeway ctl diff again")
	}
	if ro, ok := readRollout(n.h.documents); ok && (ro.State == rolloutWatching || ro.State == rolloutStopped) && !(ro.State == rolloutWatching && ro.Auto && ro.overdue(n.h.homeNow())) {
		return admin.ObjectsChange{}, admin.Refuse("rollout", fmt.Sprintf("a file is being tried since %s by %s", wall(n.h, ro.Began).Format(time.RFC3339), ro.By), "wait for it (causeway ctl apply --status), or take it back with causeway ctl rollback")
	}
	unheard, err := n.agreed(ctx, f)
	if err != nil {
		return admin.ObjectsChange{}, err
	}
	c := p.change()
	c.Effects = append(c.Effects, unheard...)
	watched := o.Canary != "" || o.Watch != 0
	var ro rollout
	if watched {
		if ro, err = n.planRollout(&p, o); err != nil {
			return c, err
		}
		c.Effects = append(c.Effects, ro.plan())
	}
	if err := n.mayWrite(); err != nil || o.DryRun {
		return c, err
	}
	if len(p.list) == 0 && f.Text == string(p.doc.Body) {
		return c, nil
	}
	if !watched {
		c.Revision, err = n.h.documents.set(ctx, objectsDoc, p.doc.Revision, body(f), o.By, o.Note)
		return c, documentError(err)
	}
	return n.beginRollout(ctx, f, ro, c)
}

// body is what is kept of a file; nothing of one that says nothing.
func body(f admin.ObjectsFile) []byte {
	if strings.TrimSpace(f.Text) == "" {
		return nil
	}
	return []byte(f.Text)
}

func (r *rollout) plan() string {
	where := "it is tried on all nodes"
	if len(r.Nodes) > 0 {
		where = "it is tried on " + strings.Join(r.Nodes, ", ")
	}
	then := "taken back by itself if it does harm"
	if !r.Auto {
		then = "stopped there if it does harm"
	}
	return fmt.Sprintf("%s for %s, and %s", where, config.FormatDuration(r.Until.Sub(r.Began)), then)
}

// planRollout says who tries a file and until when.
func (n node) planRollout(p *proposal, o admin.ApplyOptions) (ro rollout, err error) {
	watch := o.Watch
	if watch == 0 {
		watch = usualWatch
	}
	if watch < leastWatch || watch > mostWatch {
		return ro, admin.BadRequest(fmt.Sprintf("watch is %s", config.FormatDuration(watch)), "want 2s to 1d")
	}
	if !n.h.own() {
		return ro, admin.BadRequest("the file is for the home of another region, and cannot be tried here", "apply it without --canary and --watch")
	}
	if p.file == nil {
		return ro, admin.BadRequest("an empty file cannot be tried", "remove the objects without --canary and --watch")
	}
	if ro.Nodes, err = n.canaries(o.Canary); err != nil {
		return ro, err
	}
	if len(ro.Nodes) > 0 {
		var homes []admin.Refusal
		for _, d := range p.list {
			if !d.Node() {
				homes = append(homes, admin.Refusal{Condition: "home_key", Reason: d.Key + " is the home's, so that it is the same on all nodes", Fix: "apply it by itself with --watch and without --canary"})
			}
		}
		if len(homes) > 0 {
			return ro, &admin.Refused{Reasons: homes[:min(len(homes), 10)]}
		}
	}
	ro.State, ro.From, ro.Auto, ro.By, ro.Note = rolloutWatching, p.doc.Revision, o.AutoRollback, o.By, o.Note
	ro.Began = n.h.homeNow()
	ro.Until = ro.Began.Add(watch)
	return ro, nil
}

// canaries are the nodes that --canary names: one, or a part of those that are alive.
func (n node) canaries(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	var alive []string
	for _, m := range n.a.members() {
		if m.Alive {
			alive = append(alive, m.Node)
		}
	}
	slices.Sort(alive)
	if slices.Contains(alive, text) {
		return []string{text}, nil
	}
	num, percent := strings.CutSuffix(text, "%")
	part, err := strconv.ParseFloat(num, 64)
	if err != nil || !percent || !(part > 0 && part <= 100) {
		return nil, admin.BadRequest(fmt.Sprintf("there is no node %q that is alive", text), "want one of "+strings.Join(alive, ", ")+", or a part of them such as 20%")
	}
	count := int(math.Ceil(part / 100 * float64(len(alive))))
	return alive[len(alive)-count:], nil
}

// beginRollout keeps the file and then that it is tried, in this order: a rollout without its file would be void.
func (n node) beginRollout(ctx context.Context, f admin.ObjectsFile, ro rollout, c admin.ObjectsChange) (admin.ObjectsChange, error) {
	old, _ := n.h.documents.get(candidateDoc)
	rev, err := n.h.documents.set(ctx, candidateDoc, old.Revision, body(f), ro.By, ro.Note)
	if err != nil {
		return c, documentError(err)
	}
	ro.Candidate = rev
	b, err := json.Marshal(ro)
	if err != nil {
		return c, err
	}
	was, _ := n.h.documents.get(rolloutDoc)
	if _, err := n.h.documents.set(ctx, rolloutDoc, was.Revision, b, ro.By, ro.Note); err != nil {
		return c, documentError(err)
	}
	out := n.rollout(&ro)
	c.Rollout = &out
	return c, nil
}

// RollBackObjects implements admin.Objects.
func (n node) RollBackObjects(ctx context.Context, revision uint64, by string, dryRun bool) (c admin.ObjectsChange, err error) {
	if _, err := n.state(); err != nil {
		return c, err
	}
	if ro, ok := readRollout(n.h.documents); ok && (ro.State == rolloutWatching || ro.State == rolloutStopped) {
		if revision != 0 { // where it is tried the file would stay in force, whatever is applied
			return c, admin.Refuse("rollout", "a file is being tried, and is in force where it is", "take it back with causeway ctl rollback, then name the revision")
		}
		return n.takeBack(ctx, ro, by, dryRun)
	}
	history := n.h.documents.history(objectsDoc)
	now, _ := n.h.documents.get(objectsDoc)
	var to home.Document
	if revision != 0 {
		if to, err = n.revision(revision); err != nil {
			return c, err
		}
	} else {
		if len(history) == 0 {
			return c, admin.Refuse("history", "no objects were ever applied", "causeway ctl apply -f FILE applies some")
		}
		if last := len(history) - 1; last > 0 {
			to = history[last-1]
		}
	}
	f := admin.ObjectsFile{Name: fmt.Sprintf("revision %d", to.Revision), Text: string(to.Body)}
	p, err := n.judgeFile(f)
	if err != nil {
		return c, err
	}
	c = p.change()
	c.Target = "revision " + fmt.Sprint(to.Revision)
	if to.Revision == 0 {
		c.Target = "node files"
	}
	if string(now.Body) == f.Text {
		return c, admin.Refuse("in_force", c.Target+" is what is in force", "name another revision of causeway ctl history")
	}
	unheard, err := n.agreed(ctx, f)
	if err != nil {
		return c, err
	}
	c.Effects = append(c.Effects, unheard...)
	if err := n.mayWrite(); err != nil || dryRun {
		return c, err
	}
	c.Revision, err = n.h.documents.set(ctx, objectsDoc, now.Revision, body(f), by, "rolled back to "+c.Target)
	return c, documentError(err)
}

func (n node) takeBack(ctx context.Context, ro rollout, by string, dryRun bool) (admin.ObjectsChange, error) {
	c := admin.ObjectsChange{Revision: ro.From, Target: fmt.Sprintf("candidate %d", ro.Candidate), Effects: []string{"the file that is tried is taken back; what was in force before is in force on all nodes"}}
	if err := n.mayWrite(); err != nil || dryRun {
		return c, err
	}
	_, err := n.h.documents.edit(ctx, rolloutDoc, by, "", func(b []byte) ([]byte, error) {
		var now rollout
		if json.Unmarshal(b, &now) != nil || now.Began != ro.Began || now.State != rolloutWatching && now.State != rolloutStopped {
			return b, nil
		}
		now.State, now.Ended, now.Reason = rolloutRolledBack, n.h.homeNow(), "taken back by "+by
		return json.Marshal(now)
	})
	return c, documentError(err)
}

// Rollout implements admin.Objects.
func (n node) Rollout() (admin.Rollout, error) {
	if _, err := n.state(); err != nil {
		return admin.Rollout{}, err
	}
	ro, ok := readRollout(n.h.documents)
	if !ok {
		return admin.Rollout{}, admin.ErrNotFound
	}
	if ro.State == rolloutWatching && ro.Auto && ro.overdue(n.h.homeNow()) { // nobody was there to write it down
		ro.State, ro.Reason = rolloutRolledBack, "it ended, and no node said that it saw no harm"
	}
	return n.rollout(&ro), nil
}

func (n node) rollout(ro *rollout) admin.Rollout {
	out := admin.Rollout{State: ro.State, Candidate: ro.Candidate, From: ro.From, Nodes: ro.Nodes, AutoRollback: ro.Auto, By: ro.By, Note: ro.Note,
		Reason: ro.Reason, Node: ro.Node, Revision: ro.Revision, EndedAt: wall(n.h, ro.Ended)}
	out.BeganAt, out.UntilAt = *wall(n.h, ro.Began), *wall(n.h, ro.Until)
	for node := range ro.Healthy {
		out.Healthy = append(out.Healthy, node)
	}
	slices.Sort(out.Healthy)
	for _, h := range ro.Harm {
		out.Harm = append(out.Harm, admin.Harm(h))
	}
	for _, d := range ro.Denials {
		out.Denials = append(out.Denials, admin.RuleDenials(d))
	}
	return out
}

// Guard implements admin.Objects.
func (n node) Guard(seconds int) admin.GuardRates {
	now := time.Now()
	r := n.a.guard.between(now.Add(-time.Duration(seconds)*time.Second-guardEvery/2), now)
	out := admin.GuardRates{Node: n.a.cfg.Node, Seconds: admin.Seconds(r.Seconds), Connections: r.Connections}
	for _, k := range guardKinds {
		out.Rates = append(out.Rates, admin.GuardRate{Kind: k, PerSecond: r.PerSecond[k], Events: r.Events[k]})
	}
	return out
}

// ACL implements admin.Objects.
func (n node) ACL() (list []admin.ACLRule, err error) {
	for _, d := range n.a.auth.Denials() {
		list = append(list, admin.ACLRule{Home: string(d.Home), Rule: d.Rule, Revision: d.Revision, Publishes: d.Publishes, Subscribes: d.Subscribes})
	}
	return list, nil
}

// TestACL implements admin.Objects. Of a device that is connected here the user name is known.
func (n node) TestACL(q admin.ACLQuestion) (out admin.ACLAnswer, err error) {
	k := home.SessionKey{Namespace: q.Namespace, ClientID: q.Client}
	if k.Namespace == "" {
		k.Namespace = "default"
	}
	who := broker.Identity{Namespace: k.Namespace, ClientID: q.Client, Username: q.Username, Home: home.ID(q.Home)}
	if who.Home == "" {
		if id, _ := n.a.where.Of(k); id != "" {
			who.Home = id
		}
	}
	if c, err := n.Client(admin.Key{Namespace: k.Namespace, Name: k.ClientID}); err == nil {
		if who.Username == "" {
			who.Username = c.Username
		}
		if host, _, err := net.SplitHostPort(c.Address); err == nil && host != "" {
			who.Remote = c.Address
		}
	}
	decide := func(write bool) admin.ACLDecision {
		d := n.a.auth.Decide(&who, q.Topic, write)
		return admin.ACLDecision{Allowed: d.Allowed, Rule: d.Rule, Revision: d.Revision}
	}
	out = admin.ACLAnswer{Username: who.Username, Home: string(who.Home), Subscribe: decide(false)}
	if !strings.ContainsAny(q.Topic, "+#") {
		out.Publish = decide(true)
		if strings.HasPrefix(q.Topic, "$") {
			out.Publish = admin.ACLDecision{Rule: "topics that begin with $ are the server's"}
		}
	}
	return out, nil
}

// objectsCounts are totals for metrics. Rules of one name, of several homes, are added up.
func (n node) objectsCounts(stats *broker.Stats) admin.ObjectsCounts {
	f := n.h.objects.inForce()
	c := admin.ObjectsCounts{Revision: f.revision, Trying: f.trying, Problem: f.problem != "", DeniedSubscribes: stats.DeniedSubscribes.Load(), Throttled: stats.Throttled.Load()}
	at := map[string]int{}
	for _, d := range n.a.auth.Denials() {
		key := fmt.Sprint(d.Revision, " ", d.Rule)
		i, known := at[key]
		if !known {
			i = len(c.Denials)
			at[key] = i
			c.Denials = append(c.Denials, admin.RuleDenials{Rule: d.Rule, Revision: d.Revision})
		}
		c.Denials[i].Publishes += d.Publishes
		c.Denials[i].Subscribes += d.Subscribes
	}
	return c
}
