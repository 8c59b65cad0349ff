package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/routing"
)

// policyKey is a key of a link's policy that may be set for the whole region. Values
// are texts as the node file has them, a list one by one.
type policyKey struct {
	name  string
	bit   home.PolicyKeys
	show  func(*home.SetPeer) []string
	parse func(*home.SetPeer, []string) error
}

var policyKeys = []policyKey{
	listKey("in", home.KeyIn, func(p *home.SetPeer) *[]string { return &p.In }),
	listKey("out", home.KeyOut, func(p *home.SetPeer) *[]string { return &p.Out }),
	listKey("never", home.KeyNever, func(p *home.SetPeer) *[]string { return &p.Never }),
	textKey("in_prefix", home.KeyInPrefix, func(p *home.SetPeer) string { return p.InPrefix }, parsePrefix),
	textKey("qos_max", home.KeyQoSMax, func(p *home.SetPeer) string { return strconv.Itoa(int(p.QoSMax)) }, parseQoSMax),
	textKey("rate", home.KeyRate, func(p *home.SetPeer) string { return config.Bandwidth(p.Rate).String() }, parseRate),
	textKey("retained", home.KeyRetained, func(p *home.SetPeer) string { return strconv.FormatBool(p.Retained) }, parseRetained),
	textKey("spool.bytes", home.KeySpoolBytes, func(p *home.SetPeer) string { return config.ByteSize(p.SpoolBytes).String() }, parseSpoolBytes),
	textKey("spool.age", home.KeySpoolAge, func(p *home.SetPeer) string { return config.FormatDuration(p.SpoolAge) }, parseSpoolAge),
	textKey("spool.at_limit", home.KeyRefuse, func(p *home.SetPeer) string { return string(atLimit(p)) }, parseAtLimit),
}

// listKey is a key with a list of filters. Of in and out none means all of them.
func listKey(name string, bit home.PolicyKeys, field func(*home.SetPeer) *[]string) policyKey {
	return policyKey{name, bit,
		func(p *home.SetPeer) []string {
			if list := *field(p); len(list) > 0 || name == "never" {
				return list
			}
			return []string{"#"}
		},
		func(p *home.SetPeer, v []string) error {
			if len(v) == 0 && name != "never" {
				return errors.New("an empty list would let everything through; name filters, or # for everything")
			}
			for _, f := range v {
				if err := routing.ValidFilter(f); err != nil {
					return err
				}
				if strings.HasPrefix(f, "$share/") {
					return fmt.Errorf("%q is a shared subscription: name the filter inside it", f)
				}
			}
			*field(p) = orAll(v)
			return nil
		}}
}

func textKey(name string, bit home.PolicyKeys, show func(*home.SetPeer) string, parse func(*home.SetPeer, string) error) policyKey {
	return policyKey{name, bit,
		func(p *home.SetPeer) []string { return []string{show(p)} },
		func(p *home.SetPeer, v []string) error {
			if len(v) != 1 {
				return fmt.Errorf("want one value, not %d", len(v))
			}
			return parse(p, v[0])
		}}
}

func parsePrefix(p *home.SetPeer, v string) error {
	if p.InPrefix = v; v == "" {
		return nil
	}
	return routing.ValidPrefix(v)
}

func parseQoSMax(p *home.SetPeer, v string) error {
	if v != "1" && v != "2" {
		return fmt.Errorf("%q is not accepted: want 1 or 2", v)
	}
	p.QoSMax = v[0] - '0'
	return nil
}

func parseRate(p *home.SetPeer, v string) error {
	b, err := config.ParseBandwidth(v)
	if err == nil {
		err = b.Validate()
	}
	p.Rate = uint64(b)
	return err
}

func parseRetained(p *home.SetPeer, v string) (err error) {
	if v != "true" && v != "false" {
		return fmt.Errorf("%q is not accepted: want true or false", v)
	}
	p.Retained = v == "true"
	return nil
}

func parseSpoolBytes(p *home.SetPeer, v string) error {
	b, err := config.ParseByteSize(v)
	if err == nil && b < 1<<20 {
		err = fmt.Errorf("%s is out of range: want at least 1MiB", b)
	}
	p.SpoolBytes = uint64(b)
	return err
}

func parseSpoolAge(p *home.SetPeer, v string) (err error) {
	if p.SpoolAge, err = config.ParseDuration(v); err == nil && p.SpoolAge < time.Second {
		err = fmt.Errorf("%s is out of range: want at least 1s", v)
	}
	return err
}

func parseAtLimit(p *home.SetPeer, v string) error {
	if v != string(config.SpoolRefuse) && v != string(config.SpoolDropOldest) {
		return fmt.Errorf("%q is not accepted: want %s or %s", v, config.SpoolDropOldest, config.SpoolRefuse)
	}
	p.Refuse = v == string(config.SpoolRefuse)
	return nil
}

func atLimit(p *home.SetPeer) config.SpoolLimit {
	if p.Refuse {
		return config.SpoolRefuse
	}
	return config.SpoolDropOldest
}

// editPolicy is what an operator has set once an edit is made.
func editPolicy(set home.SetPolicy, edit admin.PolicyEdit) (home.SetPolicy, error) {
	names := make([]string, 0, len(policyKeys))
	for _, k := range policyKeys {
		names = append(names, k.name)
	}
	known := "the keys are " + strings.Join(names, ", ")
	for _, name := range edit.Reset {
		i := slices.Index(names, name)
		switch {
		case name == "all":
			set.Keys = 0
		case i < 0:
			return set, admin.BadRequest(fmt.Sprintf("there is no key %q", name), known+", and all")
		default:
			set.Keys &^= policyKeys[i].bit
		}
	}
	for _, s := range edit.Set {
		i := slices.Index(names, s.Key)
		if i < 0 {
			return set, admin.BadRequest(fmt.Sprintf("there is no key %q", s.Key), known)
		}
		if err := policyKeys[i].parse(&set.Values, s.Value); err != nil {
			return set, admin.BadRequest(s.Key+": "+err.Error(), "write it as in the node file")
		}
		set.Keys |= policyKeys[i].bit
	}
	return set, nil
}

// policyOf is what holds for the link to a peer.
func (n node) policyOf(peer string) (*home.State, *home.LinkPolicy, error) {
	s, err := n.state()
	if err != nil {
		return nil, nil, err
	}
	l := s.LinkPolicy(home.ID(peer))
	if cfg := n.linkConfig(peer); l == nil && cfg != nil && cfg.IsForeign() {
		return nil, nil, admin.Refuse("takes_only", "the link "+peer+" only takes messages in: the region keeps nothing for it", "change it in the node file")
	}
	if l == nil {
		return nil, nil, admin.ErrNotFound
	}
	return s, l, nil
}

// foreignKeys are those that hold for a link to a broker of another make: the spool's, which the home applies. What
// crosses is the node file's.
const foreignKeys = home.KeySpoolBytes | home.KeySpoolAge | home.KeyRefuse

// mayEdit refuses keys that would not be obeyed.
func (n node) mayEdit(peer string, keys home.PolicyKeys) error {
	if cfg := n.linkConfig(peer); cfg != nil && cfg.IsForeign() && keys&^foreignKeys != 0 {
		return admin.Refuse("foreign_link", "of the link "+peer+" to a broker of another make only spool.bytes, spool.age and spool.at_limit can be set for the region",
			"change the others in the node file")
	}
	return nil
}

// LinkPolicy implements admin.LinkControl.
func (n node) LinkPolicy(peer string) (admin.LinkPolicy, error) {
	_, l, err := n.policyOf(peer)
	if err != nil {
		return admin.LinkPolicy{}, err
	}
	out := admin.LinkPolicy{Peer: peer, Revision: l.Revision, Pause: n.pause(l), Trims: trims(l)}
	for _, k := range policyKeys {
		out.Keys = append(out.Keys, admin.PolicyKey{Key: k.name, Value: k.show(&l.SetPeer), Origin: origin(l.Set.Keys, k), File: k.show(&l.Base)})
	}
	return out, nil
}

func origin(set home.PolicyKeys, k policyKey) string {
	if set&k.bit != 0 {
		return admin.OriginRegion
	}
	return admin.OriginFile
}

func (n node) pause(l *home.LinkPolicy) *admin.LinkPause {
	if l == nil || !l.Pause.On {
		return nil
	}
	return &admin.LinkPause{Since: *n.wall(l.Pause.Since), Until: n.wall(l.Pause.Until), Reason: l.Pause.Reason}
}

func trims(l *home.LinkPolicy) (list []admin.SpoolTrim) {
	for _, t := range l.Trims {
		list = append(list, admin.SpoolTrim{Filter: t.Filter, Class: t.Class, ToSeq: uint64(t.To)})
	}
	return list
}

// ChangeLinkPolicy implements admin.LinkControl.
func (n node) ChangeLinkPolicy(ctx context.Context, peer string, edit admin.PolicyEdit, dryRun bool) (admin.PolicyChange, error) {
	s, l, err := n.policyOf(peer)
	if err != nil {
		return admin.PolicyChange{}, err
	}
	set, err := editPolicy(l.Set, edit)
	if err != nil {
		return admin.PolicyChange{}, err
	}
	if err := n.mayEdit(peer, set.Keys); err != nil {
		return admin.PolicyChange{}, err
	}
	set.Peer, set.Revision = home.ID(peer), l.Revision
	next := l.Base.Over(set.Keys, &set.Values)
	c := n.policyChange(ctx, s, l, set.Keys, next)
	if dryRun || len(c.Diff) == 0 {
		return c, nil
	}
	o, err := n.do(ctx, &set)
	if err == nil && o.Code == home.CodeGap {
		err = admin.Refuse("changed", "the policy was changed by somebody else meanwhile", "look at it and try again: causeway ctl link policy "+peer)
	}
	return c, err
}

// policyChange says what another policy would change.
func (n node) policyChange(ctx context.Context, s *home.State, l *home.LinkPolicy, keys home.PolicyKeys, next home.SetPeer) (c admin.PolicyChange) {
	for _, k := range policyKeys {
		from, to := k.show(&l.SetPeer), k.show(&next)
		if slices.Equal(from, to) && origin(l.Set.Keys, k) == origin(keys, k) {
			continue
		}
		c.Diff = append(c.Diff, admin.PolicyDiff{Key: k.name, From: from, To: to, Origin: origin(keys, k)})
		c.Effects = append(c.Effects, fmt.Sprintf("%s: %s (%s), was %s", k.name, values(to), origin(keys, k), values(from)))
	}
	if len(c.Diff) == 0 {
		c.Effects = []string{"nothing changes"}
		return c
	}
	after := home.LinkPolicy{SetPeer: next}
	if !slices.Equal(next.Out, l.Out) || !slices.Equal(next.Never, l.Never) {
		sum := n.look(ctx, s, l.Peer, func(_ string, x *home.Spooled) bool { return l.MayGo(x.Message.Topic) && !after.MayGo(x.Message.Topic) })
		c.Withheld, c.Sampled = sum.estimate(), sum.sampled
		c.Effects = append(c.Effects, sum.of("spooled messages that do not go any more: %s%d"))
	}
	c.Effects = append(c.Effects, sideEffects(s, l, &next)...)
	return c
}

// sideEffects are what else another policy does to what is there already.
func sideEffects(s *home.State, l *home.LinkPolicy, next *home.SetPeer) (list []string) {
	b := s.Backlog(l.Peer, s.HighSeq())
	if over := int64(b.Bytes) - int64(next.SpoolBytes); next.SpoolBytes < l.SpoolBytes && over > 0 {
		list = append(list, fmt.Sprintf("%s of the spool are over its new bound: dropped at once, the oldest of the lowest class first", admin.FormatBytes(over)))
	}
	if next.SpoolAge < l.SpoolAge {
		old := 0
		for _, t := range s.Trimmable(&home.DropSpooled{Peer: l.Peer, AllClasses: true, Age: next.SpoolAge}) {
			old += t.Messages
		}
		list = append(list, fmt.Sprintf("spooled messages over the new age, dropped at once: %d", old))
	}
	if next.InPrefix != l.InPrefix {
		list = append(list, "what is retained already stays under its topic")
	}
	return list
}

func values(list []string) string {
	if len(list) == 0 || len(list) == 1 && list[0] == "" {
		return "-"
	}
	return strings.Join(list, " ")
}

// PauseLink implements admin.LinkControl.
func (n node) PauseLink(ctx context.Context, peer string, d time.Duration, reason string, dryRun bool) ([]string, error) {
	if _, _, err := n.policyOf(peer); err != nil {
		return nil, err
	}
	const most = 256
	if len(reason) > most {
		return nil, admin.BadRequest(fmt.Sprintf("a reason of %d bytes", len(reason)), fmt.Sprintf("use at most %d", most))
	}
	until := "until it is resumed"
	if d > 0 {
		until = "for " + config.FormatDuration(d)
	}
	effects := []string{"nothing crosses in either direction " + until + "; the tunnel stays", "what the peer wants is spooled here, what we want is spooled there; QoS 0 is dropped and counted"}
	if dryRun {
		return effects, nil
	}
	_, err := n.do(ctx, &home.PausePeer{Peer: home.ID(peer), Paused: true, For: d, Reason: reason})
	return effects, err
}

// ResumeLink implements admin.LinkControl.
func (n node) ResumeLink(ctx context.Context, peer string, dryRun bool) ([]string, error) {
	s, l, err := n.policyOf(peer)
	if err != nil {
		return nil, err
	}
	if !l.Paused() {
		return []string{"the link is not paused"}, nil
	}
	b := s.Backlog(home.ID(peer), s.HighSeq())
	effects := []string{fmt.Sprintf("%d spooled messages (%s) go on, in order", b.Messages, admin.FormatBytes(int64(b.Bytes)))}
	if dryRun {
		return effects, nil
	}
	_, err = n.do(ctx, &home.PausePeer{Peer: home.ID(peer)})
	return effects, err
}

// LinkDrain implements admin.LinkControl.
func (n node) LinkDrain(peer string, to uint64) (admin.LinkDrain, error) {
	s, l, err := n.policyOf(peer)
	if err != nil {
		return admin.LinkDrain{}, err
	}
	at := admin.Link{State: admin.LinkElsewhere}
	if i := slices.IndexFunc(n.Links(), func(l admin.Link) bool { return l.Peer == peer }); i >= 0 {
		at = n.Links()[i]
	}
	begins := to == 0
	if begins {
		to = uint64(s.HighSeq())
	}
	b := s.Backlog(home.ID(peer), home.Seq(to))
	d := admin.LinkDrain{Peer: peer, ToSeq: to, Messages: b.Messages, Bytes: int64(b.Bytes), Dropped: int64(b.Dropped), State: at.State, Done: b.Messages == 0}
	switch {
	case d.Done:
	case l.Paused():
		return d, admin.Refuse("link_paused", "the link to "+peer+" is paused", "causeway ctl link resume "+peer)
	case begins && at.State != admin.LinkUp && at.State != admin.LinkElsewhere:
		return d, admin.Refuse("link_down", fmt.Sprintf("the link to %s is %s: %s", peer, at.State, at.Reason), "causeway ctl link show "+peer)
	}
	return d, nil
}

// fillPolicy puts what holds for a link into its description.
func fillPolicy(d *admin.LinkDetail, p *home.SetPeer) {
	d.In, d.Out, d.Never, d.InPrefix, d.QoSMax, d.AtLimit = p.In, p.Out, p.Never, p.InPrefix, int(p.QoSMax), string(atLimit(p))
	d.Rate = config.Bandwidth(p.Rate).String()
}
