package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/home"
	"causeway/routing"
)

// Bounds of one look at a spool, which may be longer than the disk can be read while
// somebody waits: so many stretches of each class, evenly spread, and so long.
const (
	lookParts  = 24
	lookTime   = 5 * time.Second
	lookTopics = 10_000 // that are added up apart
	showTopics = 20
)

// seen is told of a spooled message, and for how many it stands.
type seen func(class string, x *home.Spooled, weight float64)

// walk hands over what is spooled for a peer, class by class, a sample of it if there
// is much. Bodies are read from the disk.
func (n node) walk(ctx context.Context, s *home.State, peer home.ID, see seen) (sampled bool) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(n.a.opts.LookTime, lookTime))
	defer cancel()
	for _, info := range s.SpoolInfo(peer) {
		parts, all := s.SpoolParts(peer, info.Class, lookParts)
		sampled = sampled || !all
		for _, part := range parts {
			if ctx.Err() != nil {
				return true
			}
			n.walkPart(ctx, s, peer, info.Class, part, func(x *home.Spooled) { see(info.Class, x, weight(info.Messages, parts)) })
		}
	}
	return sampled
}

// weight is for how many of a class each message of some of its stretches stands.
func weight(total int, parts []home.SpoolPart) float64 {
	n := 0
	for _, p := range parts {
		n += p.Messages
	}
	return max(1, float64(total)/float64(max(n, 1)))
}

// walkPart reads one stretch. What is sent or dropped meanwhile is not seen.
func (n node) walkPart(ctx context.Context, s *home.State, peer home.ID, class string, part home.SpoolPart, see func(*home.Spooled)) {
	for after := part.After; after < part.Last && ctx.Err() == nil; {
		list, err := n.spooled(s, peer, class, after)
		if err != nil || len(list) == 0 || list[len(list)-1].Seq <= after {
			return
		}
		for i := range list {
			x := &list[i]
			switch {
			case x.Seq <= after:
				continue
			case x.Seq > part.Last:
				return
			}
			after = x.Seq
			if x.Evicted {
				if x.Message, err = n.a.home.Body(x.Seq); err != nil {
					continue
				}
			}
			if !x.Canary {
				see(x)
			}
		}
	}
}

// spooled reads what follows a number, from memory or from the disk.
func (n node) spooled(s *home.State, peer home.ID, class string, after home.Seq) ([]home.Spooled, error) {
	if key, ok := s.SpoolRun(peer, class, after); ok {
		return n.a.home.SpoolRun(key)
	}
	return s.Spool(peer, class, after, 1024, 1<<20, nil), nil
}

// tally counts what was looked at, and about how many were meant.
type tally struct {
	total, looked int
	hits          float64
	sampled       bool
}

// look counts the spooled messages that match.
func (n node) look(ctx context.Context, s *home.State, peer home.ID, match func(class string, x *home.Spooled) bool) (t tally) {
	t.total = s.Backlog(peer, s.HighSeq()).Messages
	t.sampled = n.walk(ctx, s, peer, func(class string, x *home.Spooled, weight float64) {
		t.looked++
		if match(class, x) {
			t.hits += weight
		}
	})
	return t
}

func (t tally) estimate() int { return int(math.Round(t.hits)) }

// of writes the estimate with a format for "about " and the number.
func (t tally) of(format string) string {
	if !t.sampled {
		return fmt.Sprintf(format, "", t.estimate())
	}
	return fmt.Sprintf(format, "about ", t.estimate()) + fmt.Sprintf(" (%d of %d were looked at)", t.looked, t.total)
}

// LinkSpool implements admin.LinkControl.
func (n node) LinkSpool(ctx context.Context, peer string, depth int) (admin.SpoolReport, error) {
	s, l, err := n.policyOf(peer)
	if err != nil {
		return admin.SpoolReport{}, err
	}
	out := admin.SpoolReport{Peer: peer, CapacityBytes: int64(l.SpoolBytes), Trims: trims(l), Classes: n.spoolClasses(s, peer)}
	var oldest admin.Seconds
	for _, c := range out.Classes {
		out.Messages, out.Bytes, out.Dropped = out.Messages+c.Messages, out.Bytes+c.Bytes, out.Dropped+c.Dropped
		oldest = max(oldest, c.OldestSeconds)
	}
	out.FullInSeconds = admin.SecondsOf(fullIn(uint64(out.Bytes), l.SpoolBytes, oldest.Duration()))
	sums := topicSums{depth: depth, by: map[string]*topicSum{}}
	out.Sampled = n.walk(ctx, s, home.ID(peer), func(_ string, x *home.Spooled, weight float64) {
		out.LookedAt++
		sums.add(&x.Message, weight)
	})
	out.Topics = sums.top()
	return out, nil
}

func (n node) spoolClasses(s *home.State, peer string) (list []admin.LinkSpool) {
	for _, sp := range s.SpoolInfo(home.ID(peer)) {
		out := admin.LinkSpool{Class: sp.Class, Filters: append([]string{}, sp.Filters...), AckedSeq: uint64(sp.Start), Messages: sp.Messages, Bytes: int64(sp.Bytes), Dropped: int64(sp.Dropped)}
		if sp.Oldest != 0 {
			out.OldestSeconds = admin.SecondsOf(n.a.home.Now().Sub(sp.Oldest))
		}
		list = append(list, out)
	}
	return list
}

// topicSums adds up messages by the first levels of their topics.
type topicSums struct {
	depth int
	by    map[string]*topicSum
}

type topicSum struct {
	filter          string
	messages, bytes float64
}

func (t *topicSums) add(m *home.Message, weight float64) {
	f := firstLevels(m.Topic, t.depth)
	if t.by[f] == nil && len(t.by) >= lookTopics {
		f = "#"
	}
	if t.by[f] == nil {
		t.by[f] = &topicSum{filter: f}
	}
	t.by[f].messages += weight
	t.by[f].bytes += weight * float64(len(m.Topic)+len(m.Payload)+len(m.Forward))
}

// firstLevels is the filter of all topics that begin like one.
func firstLevels(topic string, depth int) string {
	at := 0
	for range depth {
		i := strings.IndexByte(topic[at:], '/')
		if i < 0 {
			return topic
		}
		at += i + 1
	}
	return topic[:at] + "#"
}

// top are those with most bytes.
func (t *topicSums) top() (list []admin.TopicSum) {
	all := slices.SortedFunc(maps.Values(t.by), func(a, b *topicSum) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.filter, b.filter))
	})
	for _, s := range all[:min(len(all), showTopics)] {
		list = append(list, admin.TopicSum{Filter: s.filter, Messages: int(math.Round(s.messages)), Bytes: int64(s.bytes)})
	}
	return list
}

// TrimSpool implements admin.LinkControl.
func (n node) TrimSpool(ctx context.Context, peer string, t admin.Trim, dryRun bool) ([]string, error) {
	s, _, err := n.policyOf(peer)
	if err != nil {
		return nil, err
	}
	if !t.AllClasses && !slices.ContainsFunc(s.SpoolInfo(home.ID(peer)), func(i home.SpoolInfo) bool { return i.Class == t.Class }) {
		return nil, admin.BadRequest(fmt.Sprintf("there is no class %q", t.Class), "causeway ctl link spool "+peer+" lists them")
	}
	op := &home.DropSpooled{Peer: home.ID(peer), Filter: t.Filter, Class: t.Class, AllClasses: t.AllClasses, Age: t.OlderThan}
	effects := n.trimEffects(ctx, s, op)
	if dryRun {
		return effects, nil
	}
	o, err := n.do(ctx, op)
	if err == nil && o.Code == home.CodeQuota {
		return nil, admin.Refuse("too_many_trims", "the spool has as many trims by filter under way as it may", "wait until the link has come past them: causeway ctl link spool "+peer)
	}
	if err == nil && op.Filter == "" {
		effects = []string{fmt.Sprintf("%d spooled messages are dropped", o.Count)}
	}
	return effects, err
}

// trimEffects says what a trim would drop.
func (n node) trimEffects(ctx context.Context, s *home.State, op *home.DropSpooled) []string {
	upTo := s.Trimmable(op)
	if op.Filter == "" {
		count, bytes := 0, uint64(0)
		for _, t := range upTo {
			count, bytes = count+t.Messages, bytes+t.Bytes
		}
		return []string{fmt.Sprintf("%d spooled messages (%s) are dropped", count, admin.FormatBytes(int64(bytes)))}
	}
	sum := n.look(ctx, s, op.Peer, func(class string, x *home.Spooled) bool {
		return slices.ContainsFunc(upTo, func(t home.Trimmable) bool {
			return t.Class == class && x.Seq <= t.To && routing.Matches(op.Filter, x.Message.Topic)
		})
	})
	return []string{sum.of("%s%d spooled messages are left out when the link comes to them"), "they take their space until then"}
}
