package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"causeway/broker/packet"
	"causeway/internal/admin"
	"causeway/internal/audit"
	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/store"
	"causeway/routing"
	meshtls "causeway/tls"
)

func (a *App) newAdmin() (err error) {
	if a.opts.NoAdmin {
		return nil
	}
	if err := store.MkdirAll(a.opts.FS, a.cfg.DataDir); err != nil { // the socket lives there
		return fmt.Errorf("data_dir %s: %w", a.cfg.DataDir, err)
	}
	var mesh *tls.Config
	if a.certs.mesh != nil {
		mesh = meshtls.ServerConfig(a.certs.mesh)
		mesh.ClientAuth = tls.NoClientCert // callers present tokens
		mesh.VerifyConnection = nil
	}
	o := admin.Options{Node: a.node(), Health: a.health, Metrics: a.metrics, Build: a.opts.Build, Services: a.tree.Status, Crashed: a.tree.Crashed, Restart: a.tree.Restart,
		Logger: a.log.With("component", "admin"), Socket: a.cfg.Admin.Socket, Listen: a.cfg.Admin.Listen, TLS: mesh, MetricsListen: a.cfg.Metrics.Listen}
	a.audit = audit.New(a.opts.FS, a.opts.FS.PathJoin(a.cfg.DataDir, store.AuditDir), audit.Options{})
	o.Audit = a.audit
	if o.Listen != "" {
		o.Tokens, o.BreakGlass = a.cfg.Admin.Tokens.Path(), a.cfg.Admin.BreakGlass.Path()
	}
	o.Name, o.Readiness, o.Facts, o.Events = a.cfg.Node, a.ready, a.facts, a.events
	if a.cluster != nil {
		o.Peers = peers{a}
	}
	if a.admin, err = admin.New(o); err != nil {
		return err
	}
	if a.cluster != nil {
		a.cluster.Handle(admin.PeerProtocol, func(ctx context.Context, st *cluster.Stream) { a.admin.ServePeer(ctx, st, st.Peer.Node) })
	}
	return a.admin.Listen()
}

// peers reach the APIs of the other nodes of the region.
type peers struct{ a *App }

// Dial implements admin.Peers.
func (p peers) Dial(ctx context.Context, node string) (net.Conn, error) {
	return p.a.cluster.Dial(ctx, node, "", admin.PeerProtocol)
}

// node answers the admin API. What is configured of a home is that of h.
type node struct {
	a *App
	h *homeService
}

func (a *App) node() node { return node{a, a.home} }

var _ admin.Node = node{}

// served are the homes that this region serves, its own first; its own alone if it serves none.
func (n node) served() (list []*homeService) {
	for _, h := range n.a.homes {
		switch {
		case !h.hosts():
		case h.own():
			list = slices.Insert(list, 0, h)
		default:
			list = append(list, h)
		}
	}
	if len(list) == 0 {
		list = append(list, n.a.home)
	}
	return list
}

// state is the region's own home, or why there is none.
func (n node) state() (*home.State, error) { return stateOf(n.h) }

func stateOf(h *homeService) (*home.State, error) {
	if r := h.current(); r != nil {
		return r.State(), nil
	}
	return nil, fmt.Errorf("%w: %s", admin.ErrUnavailable, h.reason())
}

// homeOf is the home of a session: if several have it, the one that attached it last, as for devices.
func (n node) homeOf(k admin.Key) (found *homeService, s *home.State, err error) {
	if _, err := stateOf(n.served()[0]); err != nil {
		return nil, nil, err
	}
	var at home.SessionEpoch
	for _, h := range n.served() {
		if e, has := h.State().EpochOf(sessionKey(k)); has && (found == nil || e > at) {
			found, s, at = h, h.State(), e
		}
	}
	if found == nil {
		return nil, nil, admin.ErrNotFound
	}
	return found, s, nil
}

// do proposes a change and waits.
func (n node) do(ctx context.Context, op home.Op) (home.Outcome, error) {
	return n.doIn(ctx, n.a.home, op)
}

func (n node) doIn(ctx context.Context, h *homeService, op home.Op) (home.Outcome, error) {
	r := h.current()
	if r == nil {
		return home.Outcome{}, fmt.Errorf("%w: %s", admin.ErrUnavailable, h.reason())
	}
	o, err := outcomeOf(ctx, r, op)
	if err == nil && o.Code == home.CodeUnknown {
		err = admin.ErrNotFound
	}
	return o, err
}

func sessionKey(k admin.Key) home.SessionKey {
	return home.SessionKey{Namespace: k.Namespace, ClientID: k.Name}
}

// SessionsAfter merges the sessions of all homes served here.
func (n node) SessionsAfter(after admin.Key, max int) ([]admin.Session, error) {
	if _, err := stateOf(n.served()[0]); err != nil {
		return nil, err
	}
	var list []admin.Session
	for _, h := range n.served() {
		s := h.State()
		for _, info := range s.Sessions(sessionKey(after), max) {
			list = append(list, n.session(h, s, info))
		}
	}
	slices.SortStableFunc(list, func(a, b admin.Session) int { return a.Key().Compare(b.Key()) })
	// Of a session that two homes have, one counts: pages go by its key.
	list = slices.CompactFunc(list, func(a, b admin.Session) bool { return a.Key() == b.Key() })
	return list[:min(max, len(list))], nil
}

func (n node) session(h *homeService, s *home.State, info home.SessionInfo) admin.Session {
	out := admin.Session{Namespace: info.Key.Namespace, ClientID: info.Key.ClientID, Home: string(s.ID()), Epoch: uint64(info.Epoch),
		State: "detached", Owner: string(info.Owner.Node), Transient: info.Transient, ExpirySeconds: int64(info.Expiry),
		Queued: info.Queued, QueuedBytes: int64(info.QueuedBytes), InboundIDs: info.InboundIDs, Will: info.Will}
	if info.Owner != (home.Owner{}) {
		out.State = "attached"
	}
	out.ExpiresAt = wall(h, info.ExpiresAt)
	return out
}

// wall is of the region's own home.
func (n node) wall(t home.Time) *time.Time { return wall(n.a.home, t) }

// wall turns a home's time into the time on the wall, nil for never.
func wall(h *homeService, t home.Time) *time.Time {
	if t == 0 {
		return nil
	}
	at := time.Now().Add(t.Sub(h.Now())).UTC()
	return &at
}

func (n node) Session(k admin.Key) (admin.SessionDetail, error) {
	h, s, err := n.homeOf(k)
	if err != nil {
		return admin.SessionDetail{}, err
	}
	info, ok := s.Session(sessionKey(k))
	if !ok {
		return admin.SessionDetail{}, admin.ErrNotFound
	}
	d := admin.SessionDetail{Session: n.session(h, s, info)}
	for _, sub := range info.Subscriptions {
		d.Subscriptions = append(d.Subscriptions, admin.Subscription{Filter: sub.Filter, QoS: int(sub.QoS), NoLocal: sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished, RetainHandling: int(sub.RetainHandling), ID: sub.ID})
	}
	return d, nil
}

func (n node) Queue(k admin.Key, after uint64, max int, payloads bool) ([]admin.QueuedMessage, error) {
	h, s, err := n.homeOf(k)
	if err != nil {
		return nil, err
	}
	var list []admin.QueuedMessage
	for _, q := range s.Peek(sessionKey(k), after, max) {
		m := q.Message
		if q.Evicted {
			if m, err = h.Body(q.Seq); err != nil {
				continue // delivered meanwhile
			}
		}
		out := admin.QueuedMessage{Ref: q.Ref, PacketID: int(home.PacketID(q.Ref)), Seq: uint64(q.Seq), Topic: m.Topic, QoS: int(q.QoS),
			Retain: q.Retain, Received: q.Received, Bytes: int64(len(m.Payload)), ExpiresAt: wall(h, m.Expires)}
		if payloads {
			out.Payload = m.Payload
		}
		list = append(list, out)
	}
	return list, nil
}

func (n node) DeleteSession(ctx context.Context, k admin.Key, publishWill bool) error {
	h, _, err := n.homeOf(k)
	if err != nil {
		return err
	}
	_, err = n.doIn(ctx, h, &home.EndSession{Session: sessionKey(k), PublishWill: publishWill})
	return err
}

// SharedGroups lists the groups with most to do, of a name or of any.
func (n node) SharedGroups(name string, max int) ([]admin.SharedGroup, error) {
	s, err := n.state()
	if err != nil {
		return nil, err
	}
	groups := slices.DeleteFunc(withDeclared(s.Groups(), s.Shared()), func(g home.GroupInfo) bool { return name != "" && g.Name != name })
	slices.SortStableFunc(groups, func(a, b home.GroupInfo) int { return cmp.Compare(b.Queued, a.Queued) })
	differ := s.GroupMismatches()
	var list []admin.SharedGroup
	for _, g := range groups[:min(max, len(groups))] {
		list = append(list, n.sharedGroup(&g, differ))
	}
	return list, nil
}

func (n node) RetainedAfter(after admin.Key, max int) ([]admin.Retained, error) {
	s, err := n.state()
	if err != nil {
		return nil, err
	}
	var list []admin.Retained
	for _, info := range s.RetainedAfter(after.Namespace, after.Name, max) {
		list = append(list, n.retained(info))
	}
	return list, nil
}

func (n node) retained(info home.RetainedInfo) admin.Retained {
	return admin.Retained{Namespace: info.Namespace, Topic: info.Topic, QoS: int(info.QoS), Bytes: int64(len(info.Payload)),
		Version: info.Version, Home: string(info.Home), ExpiresAt: n.wall(info.Expires)}
}

func (n node) Retained(k admin.Key) (admin.RetainedDetail, error) {
	s, err := n.state()
	if err != nil {
		return admin.RetainedDetail{}, err
	}
	info, ok := s.RetainedMessage(k.Namespace, k.Name)
	if !ok {
		return admin.RetainedDetail{}, admin.ErrNotFound
	}
	return admin.RetainedDetail{Retained: n.retained(info), Payload: info.Payload}, nil
}

func (n node) DeleteRetained(ctx context.Context, k admin.Key) error {
	if _, err := n.Retained(k); err != nil {
		return err
	}
	_, err := n.do(ctx, &home.Publish{Session: home.SessionKey{Namespace: k.Namespace}, Topic: k.Name, QoS: 1, Retain: true})
	return err
}

func (n node) ExportRetained(k admin.Key) (admin.RetainedMessage, error) {
	s, err := n.state()
	if err != nil {
		return admin.RetainedMessage{}, err
	}
	info, ok := s.RetainedMessage(k.Namespace, k.Name)
	if !ok {
		return admin.RetainedMessage{}, admin.ErrNotFound
	}
	return admin.RetainedMessage{Namespace: info.Namespace, Topic: info.Topic, QoS: int(info.QoS), Payload: info.Payload, Properties: info.Forward, ExpiresAt: n.wall(info.Expires)}, nil
}

func (n node) ImportRetained(ctx context.Context, m admin.RetainedMessage, dryRun bool) error {
	op := &home.Publish{Session: home.SessionKey{Namespace: m.Namespace}, Topic: m.Topic, Payload: m.Payload, Forward: m.Properties, QoS: byte(m.QoS), Retain: true}
	if err := judgeRetained(m, int(n.a.cfg.Limits.Packet)); err != nil {
		return err
	}
	if m.ExpiresAt != nil {
		op.Expiry = uint32(min(max(1, time.Until(*m.ExpiresAt).Seconds()), math.MaxUint32))
	}
	if dryRun {
		return nil
	}
	o, err := n.do(ctx, op)
	if err == nil && o.Code >= 0x80 {
		return admin.Refuse("home", fmt.Sprintf("the home refuses it with code %#02x", o.Code), "the namespace has no room for it, or a rule keeps it from being stored here: causeway ctl get --all")
	}
	return err
}

// judgeRetained refuses what no device could have published so.
func judgeRetained(m admin.RetainedMessage, most int) error {
	const fix = "correct the line, or leave it out"
	if err := routing.ValidTopic(m.Topic); err != nil {
		return admin.BadRequest(err.Error(), fix)
	}
	switch {
	case m.Namespace == "":
		return admin.BadRequest("it has no namespace", fix)
	case m.QoS < 0 || m.QoS > 2:
		return admin.BadRequest(fmt.Sprintf("its QoS is %d", m.QoS), fix)
	case len(m.Payload) == 0:
		return admin.BadRequest("it is empty: that would delete what is there", "causeway ctl retained delete")
	case len(m.Topic)+len(m.Payload)+len(m.Properties) > most:
		return admin.BadRequest(fmt.Sprintf("it is larger than limits.packet, %d bytes", most), fix)
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(m.Topic)))
	body = binary.AppendUvarint(append(body, m.Topic...), uint64(len(m.Properties)))
	var p packet.Publish
	if err := packet.DecodePublish(packet.Header{Type: packet.PUBLISH}, append(body, m.Properties...), packet.V5, &p); err != nil {
		return admin.BadRequest("its properties: "+err.Error(), fix)
	}
	if !bytes.Equal(p.Forward, m.Properties) {
		return admin.BadRequest("its properties hold some that do not go to subscribers", fix)
	}
	return nil
}

func (n node) ForgetPeer(ctx context.Context, peer string, dryRun bool) (admin.Forgotten, error) {
	s, err := n.state()
	if err != nil {
		return admin.Forgotten{}, err
	}
	info, ok := s.Peer(home.ID(peer))
	if !ok {
		return admin.Forgotten{}, admin.ErrNotFound
	}
	for _, l := range n.a.cfg.Links {
		if l.Peer == peer {
			return admin.Forgotten{}, admin.Refuse("link_configured", "the link to "+peer+" is in the configuration: it would come back",
				"remove it from links, restart the node, then forget the peer")
		}
	}
	out := admin.Forgotten{Messages: info.Spooled, Bytes: int64(info.Bytes), Filters: info.Filters}
	if dryRun {
		return out, nil
	}
	_, err = n.do(ctx, &home.ForgetPeer{Peer: home.ID(peer)})
	return out, err
}

func (n node) Kick(_ context.Context, k admin.Key) error {
	kicked := false
	for _, h := range n.a.homes {
		kicked = h.house.Kick(sessionKey(k)) || kicked
	}
	if !kicked {
		return admin.ErrNotFound
	}
	return nil
}
