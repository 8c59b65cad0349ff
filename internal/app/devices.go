package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/devices"
	"causeway/internal/group"
	"causeway/internal/health"
	"causeway/internal/home"
)

// Bounds of what a node remembers of devices.
const (
	eventsEach    = 16
	eventsDevices = 100_000 // about 25 MB
	eventsRefused = 10_000  // of whoever says it is some device: kept apart, so that strangers push no device out
	topPlaces     = 1024
	topWindow     = 10 * time.Minute
	topWithin     = time.Hour // most that flapping is watched over
	bansMost      = 2000
	banDocuments  = "ban/"
	flappingName  = banDocuments + "flapping"
	banListName   = banDocuments + "list"
	jailsAtATime  = 64
)

// watching is what this node notices of devices, and whom it keeps out. It is the broker's Watcher and Gate.
type watching struct {
	a *App

	log, refused                  *devices.Log
	connects, takeovers, refusals *devices.Top
	bans                          *devices.Bans
	flapping                      atomic.Pointer[flapping]       // nil: off
	jail                          chan devices.Key               // that flapped
	overlooked                    atomic.Int64                   // flapped, and the channel was full
	blind                         atomic.Pointer[[]*homeService] // homes of whose bans nobody knows here; replaced with mu held

	mu   sync.Mutex
	from map[home.ID][]devices.Ban // bans by the home whose document has them; guarded by mu
	read map[home.ID]bool          // homes whose bans were read whole once; guarded by mu
}

// flapping is the rule in force with what it counts.
type flapping struct {
	rule flapRule
	top  *devices.Top
}

type flapRule struct {
	Connects int           `json:"connects"`
	Within   time.Duration `json:"within"`
	Jail     time.Duration `json:"jail"`
}

func newWatching(a *App) *watching {
	w := &watching{a: a, log: devices.NewLog(eventsEach, eventsDevices), refused: devices.NewLog(eventsEach, eventsRefused),
		connects: devices.NewTop(topPlaces, topWindow), takeovers: devices.NewTop(topPlaces, topWindow), refusals: devices.NewTop(topPlaces, topWindow),
		bans: devices.NewBans(), jail: make(chan devices.Key, jailsAtATime), from: map[home.ID][]devices.Ban{}, read: map[home.ID]bool{}}
	w.blind.Store(&[]*homeService{})
	a.health.Register("bans", w.condition)
	return w
}

func deviceKey(k home.SessionKey) devices.Key {
	return devices.Key{Namespace: k.Namespace, ClientID: k.ClientID}
}

// Connected implements broker.Watcher.
func (w *watching) Connected(c broker.Client, present, tookOver bool) {
	k, now := deviceKey(c.Session), time.Now()
	w.log.Add(k, devices.Event{At: now, Kind: devices.Connected, Listener: c.Listener, Remote: c.Remote, Username: c.Username, Protocol: protocols[c.Version], Present: present, TookOver: tookOver})
	w.connects.Add(k, 1, now)
	if tookOver {
		w.takeovers.Add(k, 1, now)
	}
	if f := w.flapping.Load(); f != nil && f.top.Add(k, 1, now) >= int64(f.rule.Connects) {
		select {
		case w.jail <- k:
		default:
			w.overlooked.Add(1) // it flaps on, and is noticed with its next connect
		}
	}
}

// Ended implements broker.Watcher.
func (w *watching) Ended(c broker.Client, why broker.EndReason) {
	now := time.Now()
	w.log.Add(deviceKey(c.Session), devices.Event{At: now, Kind: devices.Ended, Reason: why.String(), Listener: c.Listener, Remote: c.Remote, Username: c.Username, Protocol: protocols[c.Version],
		Lasted: now.Sub(c.ConnectedAt), In: c.BytesIn, Out: c.BytesOut})
}

// Refused implements broker.Watcher.
func (w *watching) Refused(r broker.Refused) {
	k, now := devices.Key{Namespace: r.Namespace, ClientID: r.ClientID}, time.Now()
	w.refused.Add(k, devices.Event{At: now, Kind: devices.Refused, Reason: r.Result.String(), Detail: r.Reason, Listener: r.Listener, Remote: r.Remote, Username: r.Username, Protocol: protocols[r.Version]})
	w.refusals.Add(k, 1, now)
}

// Address implements broker.Gate.
func (w *watching) Address(remote string) string {
	if b := w.bans.Address(remote, time.Now()); b != nil {
		return "the address is banned: " + b.Value
	}
	return ""
}

// Device implements broker.Gate.
func (w *watching) Device(who *broker.Identity) (reason string, temporary bool) {
	if h := w.unknown(); h != nil {
		return "who is banned is not known: the bans of home " + string(h.id) + " cannot be read", true
	}
	b := w.bans.Device(devices.Key{Namespace: who.Namespace, ClientID: who.ClientID}, who.Username, time.Now())
	if b == nil {
		return "", false
	}
	return fmt.Sprintf("the %s is banned by %s: %s", b.Kind, b.By, cmp.Or(b.Reason, "no reason given")), b.Jail
}

// work follows the bans of all homes that this node has a copy of: a region that stands by for another keeps out whom
// that one does.
func (w *watching) work(ctx context.Context) error {
	g := group.New(ctx)
	for _, h := range w.a.homes {
		g.Do(func(ctx context.Context) error {
			h.documents.watch(ctx, banDocuments, func(d home.Document) { w.heard(h, d) })
			return nil
		})
	}
	g.Do(func(ctx context.Context) error {
		w.jailFlapping(ctx)
		return nil
	})
	return g.Wait()
}

func (w *watching) heard(h *homeService, d home.Document) {
	switch {
	case d.Name == banListName:
		w.heardBans(h, d)
	case d.Name == flappingName && h.own():
		rule, err := readDocument[flapRule](d)
		if err == nil && rule != nil && (rule.Connects < 1 || rule.Within <= 0 || rule.Jail <= 0) {
			err = fmt.Errorf("%d connects within %s for %s are no rule", rule.Connects, rule.Within, rule.Jail)
		}
		if !h.documents.understood(d, err) {
			return
		}
		if rule == nil {
			w.flapping.Store(nil)
			return
		}
		w.flapping.Store(&flapping{*rule, devices.NewTop(topPlaces, rule.Within)})
	}
}

// heardBans takes over the bans of a home: all that can be read of them. While some cannot, those that were read before hold too,
// and where this node has not read them before it lets nobody in, since who is banned is not known.
func (w *watching) heardBans(h *homeService, d home.Document) {
	bans, err := readBans(d.Body)
	whole := h.documents.understood(d, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.from[h.id]
	blind := slices.DeleteFunc(slices.Clone(*w.blind.Load()), func(x *homeService) bool { return x == h })
	switch {
	case whole:
		w.read[h.id] = true
	case w.read[h.id]:
		for _, b := range before {
			if !slices.ContainsFunc(bans, func(x devices.Ban) bool { return x.ID() == b.ID() }) {
				bans = append(bans, b)
			}
		}
	default:
		blind = append(blind, h)
	}
	w.from[h.id] = bans
	w.a.tellBans(d.By, before, bans)
	var all []devices.Ban
	for _, list := range w.from {
		all = append(all, list...)
	}
	w.bans.Set(all)
	w.blind.Store(&blind)
	w.closeBanned()
}

// readBans reads the bans that can be read, and says why others cannot.
func readBans(body []byte) (bans []devices.Ban, err error) {
	if body == nil {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	for i, raw := range list {
		var b devices.Ban
		e := json.Unmarshal(raw, &b)
		if e == nil {
			e = b.Check()
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("ban %d: %w", i+1, e))
			continue
		}
		bans = append(bans, b)
	}
	return bans, err
}

// unknown is a home that is served here and of whose bans nobody knows; nil if there is none.
func (w *watching) unknown() *homeService {
	for _, h := range *w.blind.Load() {
		if h.hosts() {
			return h
		}
	}
	return nil
}

// condition tells load balancers that devices are better off at a node that knows who is banned; a restart would not help.
func (w *watching) condition() health.Condition {
	if h := w.unknown(); h != nil {
		return health.Condition{State: health.Starting, Reason: h.documents.problem() + "; who is banned is not known, and nobody is let in", Next: bansFix}
	}
	return health.OK()
}

// bansFix is what there is to do about bans that cannot be read.
const bansFix = "upgrade this node to the version that wrote them, or write them anew with what can be read of them: causeway ctl ban list, then causeway ctl ban add"

// closeBanned closes the connections of those who are not let in any more.
func (w *watching) closeBanned() {
	now := time.Now()
	var out []broker.Client
	w.a.broker.Clients(func(c broker.Client) bool {
		if w.bans.Device(deviceKey(c.Session), c.Username, now) != nil || w.bans.Address(c.Remote, now) != nil {
			out = append(out, c)
		}
		return true
	})
	for _, c := range out {
		if h := w.a.broker.House(c.Home); h != nil {
			h.Kick(c.Session)
		}
	}
}

// jailFlapping bans devices that connect too often for a while, all that are noticed at a time by one write.
func (w *watching) jailFlapping(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-w.jail:
			ks := []devices.Key{k}
			for len(w.jail) > 0 {
				ks = append(ks, <-w.jail)
			}
			if f := w.flapping.Load(); f != nil {
				w.imprison(ctx, ks, f.rule)
			}
		}
	}
}

func (w *watching) imprison(ctx context.Context, ks []devices.Key, rule flapRule) {
	now := time.Now().UTC()
	var bans []devices.Ban
	for _, k := range ks {
		if w.bans.Device(k, "", now) != nil {
			continue
		}
		bans = append(bans, devices.Ban{Kind: devices.BanClient, Namespace: k.Namespace, Value: k.ClientID, At: now, Until: now.Add(rule.Jail), By: "node " + w.a.cfg.Node, Jail: true,
			Reason: fmt.Sprintf("it connected %d times within %s", rule.Connects, rule.Within)})
	}
	if len(bans) == 0 {
		return
	}
	within, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	if err := w.edit(within, "node "+w.a.cfg.Node, jailing, now, func(list []devices.Ban) ([]devices.Ban, error) {
		for _, b := range bans {
			list = withBan(list, b)
		}
		return list, nil
	}); err != nil && ctx.Err() == nil {
		w.a.log.Warn("devices that flap cannot be jailed", "devices", len(bans), "error", err)
		return
	}
	w.a.log.Warn("devices that connect too often are jailed", "devices", len(bans), "first", bans[0].Value, "for", rule.Jail, "overlooked", w.overlooked.Swap(0))
}

// jailing is the note of what a node bans by itself.
const jailing = "jail"

// held are the bans of a home that hold here.
func (w *watching) held(id home.ID) []devices.Ban {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.from[id])
}

var errBansFull = fmt.Errorf("there are %d bans, which is the bound: ban prefixes of addresses or users, or take bans back", bansMost)

// edit changes the list of bans; those that are over go.
// A list that cannot be read is only written anew for an operator, with what holds of it.
func (w *watching) edit(ctx context.Context, by, note string, now time.Time, change func([]devices.Ban) ([]devices.Ban, error)) error {
	_, err := w.a.documents.edit(ctx, banListName, by, note, func(body []byte) ([]byte, error) {
		list, err := readBans(body)
		if err != nil {
			if note == jailing {
				return nil, err
			}
			list = w.held(w.a.home.id)
		}
		list = slices.DeleteFunc(list, func(b devices.Ban) bool { return b.Over(now) })
		list, err = change(list)
		switch {
		case err != nil:
			return nil, err
		case len(list) > bansMost:
			return nil, errBansFull
		case len(list) == 0:
			return nil, nil
		}
		return json.Marshal(list)
	})
	return err
}

// withBan adds a ban in the place of another of the same.
func withBan(list []devices.Ban, b devices.Ban) []devices.Ban {
	id := b.ID()
	list = slices.DeleteFunc(slices.Clone(list), func(x devices.Ban) bool { return x.ID() == id })
	return append(list, b)
}

// DeviceHistory implements admin.Devices.
func (n node) DeviceHistory(k admin.Key) (list []admin.DeviceEvent, _ error) {
	w, key := n.a.watching, devices.Key{Namespace: k.Namespace, ClientID: k.Name}
	for _, e := range append(w.log.Of(key), w.refused.Of(key)...) {
		list = append(list, admin.DeviceEvent{At: e.At.UTC(), Node: n.a.cfg.Node, Event: e.Kind.String(), Reason: e.Reason, Detail: e.Detail, Listener: e.Listener, Address: e.Remote, Username: e.Username,
			Protocol: e.Protocol, Present: e.Present, TookOver: e.TookOver, LastedSeconds: admin.SecondsOf(e.Lasted), BytesIn: e.In, BytesOut: e.Out})
	}
	slices.SortStableFunc(list, func(x, y admin.DeviceEvent) int { return x.At.Compare(y.At) })
	return list, nil
}

// TopDevices implements admin.Devices.
func (n node) TopDevices(by string, max int) (p admin.TopPage, err error) {
	w, now := n.a.watching, time.Now()
	counted := map[string]*devices.Top{admin.TopConnects: w.connects, admin.TopTakeovers: w.takeovers, admin.TopRefused: w.refusals}
	if top := counted[by]; top != nil {
		list, since := top.Most(max, now)
		since = since.UTC()
		p.Since = &since
		for _, c := range list {
			p.Items = append(p.Items, admin.TopDevice{Namespace: c.Key.Namespace, ClientID: c.Key.ClientID, Node: n.a.cfg.Node, Value: c.Count, Error: c.Error})
		}
		return p, nil
	}
	if by == admin.TopQueue {
		s, err := n.state()
		if err != nil {
			return p, err
		}
		for _, x := range s.LongestQueues(max) {
			p.Items = append(p.Items, admin.TopDevice{Namespace: x.Key.Namespace, ClientID: x.Key.ClientID, Value: int64(x.Messages), Bytes: int64(x.Bytes)})
		}
		return p, nil
	}
	n.a.broker.Clients(func(c broker.Client) bool {
		v := map[string]int64{admin.TopBytes: c.BytesIn + c.BytesOut, admin.TopMemory: int64(c.MemoryBytes), admin.TopInFlight: int64(c.InFlight)}[by]
		if v > 0 {
			p.Items = keepMost(p.Items, max, admin.TopDevice{Namespace: c.Session.Namespace, ClientID: c.Session.ClientID, Node: n.a.cfg.Node, Value: v})
		}
		return true
	})
	return p, nil
}

// keepMost adds x to a list of those with most, which has its bound.
func keepMost(list []admin.TopDevice, max int, x admin.TopDevice) []admin.TopDevice {
	if len(list) == max && x.Value <= list[max-1].Value {
		return list
	}
	at, _ := slices.BinarySearchFunc(list, x, func(a, b admin.TopDevice) int { return cmp.Compare(b.Value, a.Value) })
	if len(list) == max {
		list = list[:max-1]
	}
	return slices.Insert(list, at, x)
}

// Bans implements admin.Devices.
func (n node) Bans() (list []admin.Ban, _ error) {
	w, now := n.a.watching, time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, bans := range w.from {
		for _, b := range bans {
			if b.Over(now) {
				continue
			}
			x := admin.Ban{ID: b.ID(), Home: string(id), Kind: b.Kind, Namespace: b.Namespace, Value: b.Value, At: b.At.UTC(), By: b.By, Reason: b.Reason, Jail: b.Jail}
			if !b.Until.IsZero() {
				until := b.Until.UTC()
				x.Until = &until
			}
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b admin.Ban) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Value, b.Value), strings.Compare(a.Home, b.Home))
	})
	return list, nil
}

// AddBan implements admin.Devices.
func (n node) AddBan(ctx context.Context, x admin.Ban, dryRun bool) (admin.Ban, []string, error) {
	if _, err := n.state(); err != nil {
		return x, nil, err
	}
	b := devices.Ban{Kind: x.Kind, Namespace: x.Namespace, Value: x.Value, At: x.At, By: x.By, Reason: x.Reason}
	if x.Until != nil {
		b.Until = *x.Until
	}
	if err := b.Check(); err != nil {
		return x, nil, admin.BadRequest(err.Error(), "give kind, value and, of a client or user, namespace")
	}
	x.Value, x.Namespace, x.ID = b.Value, b.Namespace, b.ID()
	effects := []string{"it is not let in at any node of this region, nor where its home is stood by for", "its connections close, and sessions stay"}
	if dryRun {
		return x, effects, nil
	}
	return x, effects, banProblem(n.a.watching.edit(ctx, x.By, "ban", time.Now(), func(list []devices.Ban) ([]devices.Ban, error) { return makeRoom(withBan(list, b)), nil }))
}

// makeRoom lets jailed devices go, the oldest first, before an operator's ban is refused: who flaps is jailed again.
func makeRoom(list []devices.Ban) []devices.Ban {
	for len(list) > bansMost {
		at := slices.IndexFunc(list, func(b devices.Ban) bool { return b.Jail })
		if at < 0 {
			break
		}
		list = slices.Delete(list, at, at+1)
	}
	return list
}

// DeleteBan implements admin.Devices.
func (n node) DeleteBan(ctx context.Context, id, by string, dryRun bool) ([]string, error) {
	bans, _ := n.Bans()
	at := slices.IndexFunc(bans, func(b admin.Ban) bool { return b.ID == id })
	if at < 0 {
		return nil, admin.ErrNotFound
	}
	if own := string(n.a.home.id); bans[at].Home != own {
		return nil, admin.Refuse("home", "the operators of the home "+bans[at].Home+" wrote it", "do this in the region that serves it")
	}
	effects := []string{"the " + bans[at].Kind + " " + bans[at].Value + " is let in again"}
	if dryRun {
		return effects, nil
	}
	return effects, banProblem(n.a.watching.edit(ctx, by, "take back", time.Now(), func(list []devices.Ban) ([]devices.Ban, error) {
		return slices.DeleteFunc(list, func(b devices.Ban) bool { return b.ID() == id }), nil
	}))
}

func banProblem(err error) error {
	if errors.Is(err, errBansFull) {
		return admin.Refuse("bound", err.Error(), "causeway ctl ban list")
	}
	return documentError(err)
}

// Flapping implements admin.Devices.
func (n node) Flapping() (admin.Flapping, error) {
	f := n.a.watching.flapping.Load()
	if f == nil {
		return admin.Flapping{}, nil
	}
	return admin.Flapping{Enabled: true, Connects: f.rule.Connects, WithinSeconds: admin.SecondsOf(f.rule.Within), JailSeconds: admin.SecondsOf(f.rule.Jail)}, nil
}

// SetFlapping implements admin.Devices.
func (n node) SetFlapping(ctx context.Context, f admin.Flapping, by string, dryRun bool) ([]string, error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	d, _ := n.a.documents.get(flappingName)
	if !f.Enabled {
		effects := []string{"no more devices are jailed; those that are stay so until their time is over: causeway ctl ban list"}
		if dryRun || d.Body == nil {
			return effects, nil
		}
		return effects, n.removeDocument(ctx, flappingName, d.Revision, by, "off")
	}
	rule := flapRule{Connects: f.Connects, Within: f.WithinSeconds.Duration(), Jail: f.JailSeconds.Duration()}
	if rule.Connects < 3 || rule.Within < time.Second || rule.Within > topWithin || rule.Jail < time.Second {
		return nil, admin.BadRequest(fmt.Sprintf("jail who connects %d times within %s for %s", rule.Connects, rule.Within, rule.Jail), "give connects from 3 on, within from 1s to 1h, and jail from 1s on")
	}
	effects := []string{fmt.Sprintf("a device that connects %d times within %s at one node is jailed at all of them for %s: held, then closed without an answer", rule.Connects, rule.Within, rule.Jail)}
	if dryRun {
		return effects, nil
	}
	return effects, n.writeDocument(ctx, flappingName, d.Revision, rule, by, "set")
}

// ForgetClient implements admin.Forgetting.
func (n node) ForgetClient(k admin.Key, dryRun bool) int {
	w, key := n.a.watching, devices.Key{Namespace: k.Namespace, ClientID: k.Name}
	if !dryRun {
		n.awaitGone(k)
	}
	count := w.log.Forget(key, dryRun) + w.refused.Forget(key, dryRun)
	for _, top := range []*devices.Top{w.connects, w.takeovers, w.refusals} {
		count += top.Forget(key, dryRun)
	}
	if f := w.flapping.Load(); f != nil {
		count += f.top.Forget(key, dryRun)
	}
	return count + n.a.traces.Forget(k.Namespace, k.Name, dryRun)
}

const (
	goneWithin = time.Second            // for a connection that is told to end
	goneLag    = 100 * time.Millisecond // until the last of it was noted
)

// awaitGone waits until the connection of a session that was ended is gone, so that nothing of its end is noted after what
// was noted is forgotten. Who comes back meanwhile is not waited for.
func (n node) awaitGone(k admin.Key) {
	ctx, cancel := context.WithTimeout(context.Background(), goneWithin)
	defer cancel()
	here := func() bool {
		return slices.ContainsFunc(n.a.homes, func(h *homeService) bool { _, ok := h.house.Client(sessionKey(k)); return ok })
	}
	was := here()
	for here() && wait(ctx, goneLag/5) {
	}
	if was {
		wait(ctx, goneLag)
	}
}
