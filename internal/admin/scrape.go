package admin

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"causeway/internal/health"
	"causeway/internal/supervise"

	"github.com/prometheus/client_golang/prometheus"
)

// desc is a metric that is read at each scrape.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("causeway_"+name, help, labels, nil)
}

// What a scrape asks the node for. Names are those of the operators' handbook and never change
// their meaning.
var (
	descLinkUp        = desc("link_up", "1 while the link to the peer works, otherwise 0; with the reason, also of being up and not over UDP.", "peer", "transport", "reason")
	descLinkLag       = desc("link_lag_seconds", "Age of the oldest message the peer has not acknowledged.", "peer")
	descLinkLagMsgs   = desc("link_lag_messages", "Messages the peer has not acknowledged.", "peer")
	descLinkSpool     = desc("link_spool_bytes", "Bytes kept for the peer.", "peer")
	descLinkSpoolMax  = desc("link_spool_capacity_bytes", "Bytes that may be kept for the peer.", "peer")
	descLinkBytes     = desc("link_bytes_total", "Bytes that crossed the link: messages raw and as on the wire, and all of the transport.", "peer", "direction", "form")
	descLinkRTT       = desc("link_rtt_seconds", "Round-trip time to the peer.", "peer")
	descLinkCanary    = desc("link_canary_age_seconds", "Age of the newest message that crossed the link from home to home only to try it; out: since it was sent, in: since it came.", "peer", "direction")
	descLinkCanaryRTT = desc("link_canary_seconds", "From the proposal of the newest canary here to the acknowledgement of its commit in the peer's home.", "peer")
	descLinkConns     = desc("link_connections", "Connections of the tunnel to the peer: several where packets are lost; 0 while it is down.", "peer")
	descLinkTunnels   = desc("link_tunnels_total", "Tunnels opened, by either side.", "peer", "transport")
	descLinkDials     = desc("link_dial_failures_total", "Rounds of dials in which no address gave a tunnel.", "peer")
	descLinkProbes    = desc("link_udp_probes_total", "Attempts to move the tunnel from TCP or a relay to a better way.", "peer")
	descLinkPaused    = desc("link_paused", "1 while the link is paused, otherwise 0.", "peer")
	descLinkThrottled = desc("link_throttled_seconds_total", "Time that frames waited for the link's rate.", "peer")
	descLinkSlowed    = desc("link_slowed_seconds_total", "Time that what the peer sent waited for connected devices here whose queues fill up.", "peer")
	descRelayedBytes  = desc("link_relayed_bytes_total", "Bytes that this region relayed from one peer to another.", "peer", "to")
	descRelayedTuns   = desc("link_relayed_tunnels_total", "Tunnels that this region relayed from the peer that opened them to another.", "peer", "to")
	descRelayedOpen   = desc("link_relayed_tunnels", "Relayed tunnels that go on.", "peer", "to")
	descRelayRefused  = desc("link_relay_refused_total", "Tunnels that a peer wanted relayed and that were refused.", "peer", "reason")
	descLinkSpoolFull = desc("link_spool_full_in_seconds", "When the spool is full at the pace since its oldest message; absent if that cannot be said.", "peer")

	descConnections = desc("connections", "Connected devices.", "listener", "protocol", "namespace")
	descWaiting     = desc("connect_queue_length", "Accepted connections that wait for their turn before TLS.")
	descParked      = desc("connects_parked", "CONNECTs that wait for the home of their session.")
	descAdmission   = desc("connect_rate_limit", "Connections let in a second at most; 0 is no bound.")
	descConnects    = desc("connects_total", "What became of accepted connections.", "listener", "result")
	descDisconnects = desc("disconnects_total", "Connections with a session that ended.", "reason")
	descSessions    = desc("sessions", "Sessions of the home.", "state", "home", "namespace")
	descTakeovers   = desc("session_takeovers_total", "Sessions that moved to another connection.", "scope", "result")
	descReceived    = desc("messages_received_total", "PUBLISH packets from devices.", "qos", "namespace")
	descSent        = desc("messages_sent_total", "PUBLISH packets to devices.", "qos", "namespace")
	descBytes       = desc("mqtt_bytes_total", "Bytes of MQTT packets from and to devices.", "direction")
	descDropped     = desc("messages_dropped_total", "Messages dropped. One that only a peer wanted is none of them.", "place", "reason")
	descQueueBytes  = desc("queue_bytes", "Bytes in the queues of the home's sessions.", "home")
	descFilters     = desc("filters", "Filters that sessions of the home subscribe to.", "home")
	descQueued      = desc("queue_messages", "Messages in the queues of the home's sessions.", "home")
	descOwed        = desc("messages_owed", "Messages that wait for a region that may store them: what the region that serves has the number only of.", "home")
	descQueueOldest = desc("queue_oldest_seconds", "For how long the oldest message in a queue of the home's sessions has waited; absent where nothing waits. Up to 15 s old.", "home", "namespace")
	descGroupLag    = desc("shared_group_lag_messages", "Messages that wait for a member of a shared subscription, of the groups with most.", "namespace", "group")
	descGroupOldest = desc("shared_group_oldest_seconds", "For how long the oldest of them has waited.", "namespace", "group")
	descGroupDiffer = desc("shared_group_mismatches", "Regions that declare a global group otherwise than this one does.")
	descGroupBytes  = desc("shared_group_lag_bytes", "And their bytes.", "namespace", "group")
	descRetained    = desc("retained_messages", "Retained messages of the home.", "home")

	descEpoch       = desc("home_epoch", "Epoch of the home.", "home")
	descRegionState = desc("region_state", "1 for what the region's copy of the home is: host, fenced, standby, handed, retired or empty.", "home", "state")
	descRPO         = desc("standby_rpo_seconds", "Age of the oldest record the standby lacks: what would be lost or late if this region failed now. On the node that leads the home.", "home", "standby")
	descRPOMessages = desc("standby_rpo_messages", "About how many messages the standby lacks.", "home", "standby")
	descLeader      = desc("home_leader", "1 on the node that leads the home's log.", "home")
	descAlarms      = desc("alarms", "What is wrong at this node, by what causeway ctl alarms calls it.", "name", "level")
	descDrilling    = desc("drill_under_way", "1 while a drill is under way.", "home")
	descDrill       = desc("drill_outcome", "1 for how the last drill that ended did: done, missed, aborted, failed, partly.", "home", "outcome")
	descDrillValue  = desc("drill_value", "Figures of the last drill that ended, seconds or a count, by the names that its goals use.", "home", "phase", "metric")
	descState       = desc("node_state", "1 for the state the node is in.", "state")
	descRestarts    = desc("service_restarts_total", "Restarts of a part of the node.", "service")
	descPanics      = desc("panics_total", "Panics of a part of the node, each of which cost that part or one request or connection of it.", "service")
	descIsolated    = desc("service_isolated", "1 while a part of the node fails again and again and is tried seldom.", "service")
	descStreams     = desc("event_streams", "Callers that listen for the node's events.")
	descStreamsEnd  = desc("event_streams_refused_total", "Listeners for events that were not let in (too_many), or cut off since they did not read (slow).", "reason")
	descFree        = desc("disk_free_bytes", "Free bytes of the disk, by what it is used for.", "use")
	descCommit      = desc("home_commit_seconds", "From a proposal to its outcome on this node.", "home")
	descFsync       = desc("fsync_seconds", "Time to make a write durable.", "store")
	descSpools      = desc("disk_spool_bytes", "Bytes in the spools of all links.", "use")
	descSpoolLimit  = desc("disk_spool_limit_bytes", "What the spools of all links may hold now, and what bounds it.", "use", "by")
	descUsed        = desc("disk_used_bytes", "Bytes the store takes on the disk.", "use")

	descNodes     = desc("region_nodes", "Nodes of the region, by role and whether gossip sees them.", "role", "seen")
	descVotes     = desc("home_votes", "Votes of the home that are here.", "home")
	descVotesWant = desc("home_votes_configured", "Votes the home is to have.", "home")
	descTerm      = desc("home_term", "Term of the home's log: it rises with each election.", "home")
	descStale     = desc("home_stale_seconds", "For how long the node has not known what is committed; 0 while it does.", "home")
	descBehind    = desc("home_behind_entries", "Entries known to be committed and not applied on this node.", "home")
	descFetched   = desc("home_fetched_bytes", "Bytes fetched of a copy of the home.", "home")
	descFetchSize = desc("home_fetch_size_bytes", "Bytes of the copy of the home that was or is fetched.", "home")
	descLag       = desc("home_follower_lag_entries", "Entries a copy of the home lacks, as the leader knows.", "home", "node")
	descNodeDowns = desc("home_node_downs_total", "Nodes that this one, leading, declared dead.", "home")
	descSwitches  = desc("home_core_switches_total", "Times this replicant's core was followed no more.", "home")
	descBodies    = desc("home_bodies_asked_total", "Messages this replicant had no room for and asked cores for.", "home", "result")
	descMismatch  = desc("replica_digest_mismatch_total", "Digests of another copy that were not this one's.", "home", "with")

	descSiblingUp    = desc("sibling_up", "1 while the stream to another node of the region stands.", "node")
	descSiblingQueue = desc("sibling_queue_bytes", "Bytes that wait for another node of the region.", "node")
	descSiblingMsgs  = desc("sibling_messages_total", "Messages in no log, to and from another node of the region.", "node", "result")
	descSiblingOpens = desc("sibling_streams_total", "Streams dialled to another node of the region.", "node")
	descSiblingBad   = desc("sibling_malformed_total", "Streams ended because of what another node of the region said.", "node")
	descYields       = desc("sibling_yields_total", "Questions whether another node has given up a session, and how it was found out.", "node", "result")
)

// scraper reads the node at each scrape.
type scraper struct{ s *Server }

// Describe names the metrics.
func (c *scraper) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLinkUp, descLinkLag, descLinkLagMsgs, descLinkSpool, descLinkSpoolMax, descLinkSpoolFull, descLinkBytes,
		descLinkPaused, descLinkThrottled, descLinkSlowed, descReady, descBlocker, descAge,
		descLinkRTT, descLinkConns, descLinkCanary, descLinkCanaryRTT, descLinkTunnels, descLinkDials, descLinkProbes,
		descRelayedBytes, descRelayedTuns, descRelayedOpen, descRelayRefused,
		descConnections, descConnects, descWaiting, descParked, descAdmission, descDisconnects, descSessions, descTakeovers, descReceived, descSent, descBytes, descDropped,
		descFilters, descQueueBytes, descQueued, descOwed, descQueueOldest, descDrilling, descDrill, descDrillValue, descGroupLag, descGroupBytes, descGroupOldest, descGroupDiffer, descRetained, descEpoch, descRegionState, descRPO, descRPOMessages, descLeader, descState, descAlarms, descRestarts, descPanics, descIsolated, descFree, descUsed, descSpools, descSpoolLimit, descCommit, descFsync,
		descNodes, descVotes, descVotesWant, descTerm, descStale, descBehind, descFetched, descFetchSize, descLag, descNodeDowns, descSwitches, descBodies, descMismatch,
		descSiblingUp, descSiblingQueue, descSiblingMsgs, descSiblingOpens, descSiblingBad, descYields} {
		ch <- d
	}
	for _, d := range slices.Concat(objectsDescs, crlDescs) {
		ch <- d
	}
}

// Collect asks the node.
func (c *scraper) Collect(ch chan<- prometheus.Metric) {
	st, counts := c.s.status(), c.s.node.Counts()
	counts.Dropped = append(append([]DroppedCount{}, counts.Dropped...), c.s.metrics.droppedCounts()...)
	g := samples{kind: prometheus.GaugeValue}
	g.node(st)
	g.links(st.Links)
	g.region(counts)
	g.objects(&counts.Objects)
	for _, q := range counts.Queues {
		g.add(descQueueOldest, q.Age.Seconds(), q.Home, q.Namespace)
	}
	if drills, err := c.s.node.Drills(); err == nil {
		g.drills(drills)
	}
	g.readiness(c.s.ready.Report())
	g.crls(st.CRLs, st.Now)
	g.certificates(c.s.facts().Certificates, st.Now)
	for _, a := range c.s.alarms(st) {
		g.add(descAlarms, 1, a.Name, a.Level)
	}
	// Without a home there are none to tell of.
	if groups, err := c.s.node.SharedGroups("", maxGroupSeries); err == nil {
		g.groups(groups)
	}
	g.add(descStreams, float64(c.s.streams.count()))
	g.emit(ch)
	n := samples{kind: prometheus.CounterValue}
	n.counts(counts)
	n.regionTotals(counts)
	for _, f := range counts.CRLFailures {
		n.add(descCRLFailures, float64(f.Count), f.Use)
	}
	n.linkCounts(st.Links)
	for _, s := range st.Services {
		n.add(descRestarts, float64(s.Restarts), s.Name)
		n.add(descPanics, float64(s.Panics), s.Name)
		n.add(descIsolated, oneIf(s.State == string(supervise.StateIsolated)), s.Name)
	}
	n.add(descStreamsEnd, float64(c.s.streams.refused.Load()), "too_many")
	n.add(descStreamsEnd, float64(c.s.streams.slow.Load()), "slow")
	n.emit(ch)
	durations(ch, descCommit, counts.Commits)
	durations(ch, descFsync, counts.Fsyncs)
}

// durations hands over distributions that the parts of the node keep themselves.
func durations(ch chan<- prometheus.Metric, d *prometheus.Desc, list []Durations) {
	for _, one := range list {
		buckets, total := make(map[float64]uint64, len(one.Bounds)), uint64(0)
		for i, n := range one.Counts {
			total += n
			if i < len(one.Bounds) {
				buckets[one.Bounds[i]] = total
			}
		}
		ch <- prometheus.MustNewConstHistogram(d, total, one.Sum, buckets, one.Label)
	}
}

// samples gathers values; those with the same labels are added, where Prometheus would refuse the
// whole page.
type samples struct {
	kind  prometheus.ValueType
	order []string
	by    map[string]*sample
}

type sample struct {
	desc   *prometheus.Desc
	labels []string
	value  float64
}

func (s *samples) add(d *prometheus.Desc, v float64, labels ...string) {
	key := d.String() + "\x00" + strings.Join(labels, "\x00")
	if s.by == nil {
		s.by = map[string]*sample{}
	}
	if have := s.by[key]; have != nil {
		have.value += v
		return
	}
	s.order = append(s.order, key)
	s.by[key] = &sample{d, labels, v}
}

func (s *samples) emit(ch chan<- prometheus.Metric) {
	for _, key := range s.order {
		v := s.by[key]
		m, err := prometheus.NewConstMetric(v.desc, s.kind, v.value, v.labels...)
		if err != nil { // a label that is not UTF-8
			m = prometheus.NewInvalidMetric(v.desc, err)
		}
		ch <- m
	}
}

func (s *samples) node(st Status) {
	for _, state := range health.States() {
		s.add(descState, oneIf(string(state) == st.State.State), string(state))
	}
	s.add(descWaiting, float64(st.Admission.Waiting))
	s.add(descParked, float64(st.Admission.Parked))
	s.add(descAdmission, st.Admission.PerSecond)
	for _, c := range st.Connections {
		s.add(descConnections, float64(c.Count), c.Listener, c.Protocol, c.Namespace)
	}
	for _, c := range st.Sessions {
		s.add(descSessions, float64(c.Count), c.State, c.Home, c.Namespace)
	}
	for _, h := range st.Homes {
		s.add(descEpoch, float64(h.Epoch), h.ID)
		s.add(descLeader, oneIf(h.Leading), h.ID)
		s.add(descQueueBytes, float64(h.QueuedBytes), h.ID)
		s.add(descQueued, float64(h.Queued), h.ID)
		s.add(descOwed, float64(h.Owed), h.ID)
		s.add(descFilters, float64(h.Filters), h.ID)
		s.add(descRetained, float64(h.Retained), h.ID)
		s.standbys(&h)
	}
	for _, d := range st.Stores {
		s.add(descFree, float64(d.FreeBytes), d.Name)
		s.add(descUsed, float64(d.Bytes), d.Name)
		s.add(descSpools, float64(d.SpoolBytes), d.Name)
		if d.SpoolLimitBytes > 0 {
			s.add(descFree, float64(max(0, d.SpoolLimitBytes-d.SpoolBytes)), "spool")
			s.add(descSpoolLimit, float64(d.SpoolLimitBytes), d.Name, d.SpoolLimitBy)
		}
	}
}

// drills are the gauges of the last drill of each home. Those that the home keeps begin with the newest.
func (s *samples) drills(list []Drill) {
	told := map[string]bool{}
	for i := range list {
		d := &list[i]
		s.add(descDrilling, oneIf(d.Ended == nil), d.Home)
		if d.Ended == nil || told[d.Home] {
			continue
		}
		told[d.Home] = true
		for _, o := range []string{"done", "missed", "aborted", "failed", "partly"} {
			s.add(descDrill, oneIf(d.Outcome == o), d.Home, o)
		}
		values := map[[2]string]float64{} // a phase that was gone through twice: the last time
		for _, p := range d.Phases {
			for _, v := range p.Values {
				values[[2]string{p.Name, v.Metric}] = v.Value
			}
		}
		for k, v := range values {
			s.add(descDrillValue, v, d.Home, k[0], k[1])
		}
	}
}

// region are the gauges of the nodes of the region and the home they keep.
func (s *samples) region(c Counts) {
	for _, n := range c.Nodes {
		seen := "no"
		if n.Seen {
			seen = "yes"
		}
		s.add(descNodes, float64(n.Count), n.Role, seen)
	}
	for _, h := range c.Homes {
		s.add(descVotesWant, float64(h.Votes), h.Home)
		s.add(descFetched, float64(h.Fetched), h.Home)
		s.add(descFetchSize, float64(h.FetchTotal), h.Home)
		s.add(descBehind, float64(h.Behind), h.Home)
		if !h.Open {
			continue
		}
		s.add(descVotes, float64(h.VotesHere), h.Home)
		s.add(descTerm, float64(h.Term), h.Home)
		s.add(descStale, h.Stale.Seconds(), h.Home)
		for _, f := range h.Followers {
			s.add(descLag, float64(f.Count), h.Home, f.Node)
		}
	}
	for _, n := range c.Siblings {
		s.add(descSiblingUp, oneIf(n.Connected), n.Node)
		s.add(descSiblingQueue, float64(n.QueuedBytes), n.Node)
	}
}

// regionTotals are the counters.
func (s *samples) regionTotals(c Counts) {
	for _, h := range c.Homes {
		if h.Open {
			s.add(descNodeDowns, float64(h.NodeDowns), h.Home)
			s.add(descSwitches, float64(h.Switches), h.Home)
			s.add(descBodies, float64(h.Bodies), h.Home, "read")
			s.add(descBodies, float64(h.BodyRetries), h.Home, "again")
		}
		for _, m := range h.Mismatches {
			s.add(descMismatch, float64(m.Count), h.Home, m.Node)
		}
	}
	for _, n := range c.Siblings {
		s.add(descSiblingOpens, float64(n.Streams), n.Node)
		s.add(descSiblingBad, float64(n.Malformed), n.Node)
		for result, count := range map[string]int64{"sent": n.Sent, "dropped": n.Dropped, "received": n.Received} {
			s.add(descSiblingMsgs, float64(count), n.Node, result)
		}
		for result, count := range map[string]int64{"asked": n.Asked, "answered": n.Answered, "gone": n.Gone, "lapsed": n.Lapsed} {
			s.add(descYields, float64(count), n.Node, result)
		}
	}
}

// maxGroupSeries bounds the groups that metrics name: their names are devices'.
const maxGroupSeries = 100

// groups adds up a group's filters.
func (s *samples) groups(groups []SharedGroup) {
	oldest, differ := map[[2]string]Seconds{}, map[[2]string]int{}
	for _, g := range groups {
		k := [2]string{g.Namespace, g.Group}
		oldest[k], differ[k] = max(oldest[k], g.OldestSeconds), len(g.Mismatches)
		s.add(descGroupLag, float64(g.LagMessages), g.Namespace, g.Group)
		s.add(descGroupBytes, float64(g.LagBytes), g.Namespace, g.Group)
	}
	for k, age := range oldest {
		s.add(descGroupOldest, float64(age), k[0], k[1])
		s.add(descGroupDiffer, float64(differ[k]))
	}
}

func (s *samples) links(links []Link) {
	for _, l := range links {
		up := l.State == LinkUp || l.State == LinkPaused
		cause := l.Cause
		if !up {
			cause = cmp.Or(cause, l.State)
		}
		if cause != "" {
			cause = causeWord(cause)
		}
		if l.State != LinkElsewhere { // the node that has it tells
			s.add(descLinkUp, oneIf(up), l.Peer, l.Transport, cause)
		}
		s.add(descLinkLag, float64(l.LagSeconds), l.Peer)
		s.add(descLinkLagMsgs, float64(l.LagMessages), l.Peer)
		s.add(descLinkSpool, float64(l.SpoolBytes), l.Peer)
		s.add(descLinkSpoolMax, float64(l.SpoolCapacityBytes), l.Peer)
		if l.SpoolFullInSeconds > 0 {
			s.add(descLinkSpoolFull, float64(l.SpoolFullInSeconds), l.Peer)
		}
		s.add(descLinkPaused, oneIf(l.Pause != nil), l.Peer)
		s.add(descLinkRTT, float64(l.RTTSeconds), l.Peer)
		s.add(descLinkConns, float64(l.Connections), l.Peer)
		if c := l.Canary; c != nil {
			s.add(descLinkCanary, float64(c.OutAgeSeconds), l.Peer, "out")
			if l.Foreign == nil || l.Foreign.CanaryReturns {
				s.add(descLinkCanary, float64(c.InAgeSeconds), l.Peer, "in")
				s.add(descLinkCanaryRTT, float64(c.RoundTripSeconds), l.Peer)
			}
		}
		for _, r := range l.Relayed {
			s.add(descRelayedOpen, float64(r.Open), l.Peer, r.To)
		}
	}
}

// causeWord keeps sentences, and the addresses in them, out of a label.
func causeWord(s string) string {
	if s == "" || len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return "other"
	}
	return s
}

func (s *samples) linkCounts(links []Link) {
	for _, l := range links {
		for _, b := range l.Bytes {
			s.add(descLinkBytes, float64(b.Bytes), l.Peer, b.Direction, b.Form)
		}
		s.add(descLinkTunnels, float64(l.TunnelsUDP), l.Peer, "udp")
		s.add(descLinkTunnels, float64(l.TunnelsTCP), l.Peer, "tcp")
		s.add(descLinkTunnels, float64(l.TunnelsRelay), l.Peer, "relay")
		s.add(descLinkDials, float64(l.DialFailures), l.Peer)
		s.add(descLinkThrottled, float64(l.ThrottledSeconds), l.Peer)
		s.add(descLinkSlowed, float64(l.SlowedSeconds), l.Peer)
		s.add(descLinkProbes, float64(l.UDPProbes), l.Peer)
		for _, r := range l.Relayed {
			s.add(descRelayedBytes, float64(r.Bytes), l.Peer, r.To)
			s.add(descRelayedTuns, float64(r.Tunnels), l.Peer, r.To)
		}
		for _, r := range l.RelayRefused {
			s.add(descRelayRefused, float64(r.Count), l.Peer, r.Reason)
		}
	}
}

func (s *samples) counts(c Counts) {
	for _, n := range c.Connects {
		s.add(descConnects, float64(n.Count), n.Listener, n.Result)
	}
	for _, n := range c.Disconnects {
		s.add(descDisconnects, float64(n.Count), n.Reason)
	}
	for _, n := range c.Takeovers {
		s.add(descTakeovers, float64(n.Count), n.Scope, n.Result)
	}
	for _, n := range c.Messages {
		d := descReceived
		if n.Sent {
			d = descSent
		}
		s.add(d, float64(n.Count), strconv.Itoa(n.QoS), n.Namespace)
	}
	s.add(descBytes, float64(c.BytesIn), "in")
	s.add(descBytes, float64(c.BytesOut), "out")
	s.denials(&c.Objects)
	for _, n := range c.Dropped {
		s.add(descDropped, float64(n.Count), n.Place, n.Reason)
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
