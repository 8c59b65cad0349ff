package sim

import (
	"maps"
	"slices"
	"sync"
	"time"

	"causeway/internal/home"
)

// founded is the home time at which homes are founded.
const founded = home.Time(time.Hour)

// image is a home as it is before the run, flushed.
type image struct {
	id   home.ID
	aged bool
}

var (
	imagesMu sync.Mutex
	images   = map[image]map[string][]byte{}
)

// pressed returns the image's keys and values; runs share what it costs.
func (i image) pressed() map[string][]byte {
	imagesMu.Lock()
	defer imagesMu.Unlock()
	kept := images[i]
	if kept == nil {
		kept = i.press()
		images[i] = kept
	}
	return maps.Clone(kept)
}

// ids is how many packet ids the queues in a home have.
const ids = home.FirstLocalID - 1

// beforeWrap is how many references short of the packet ids' beginning again the
// sessions of an aged image are.
const beforeWrap = 10

// press founds the home. In an aged one the listeners' sessions are there and have
// lived for so long that their packet ids are about to begin again, for the first
// time or for the second.
func (i image) press() map[string][]byte {
	p := &pressing{state: home.New(), id: i.id}
	p.do(&home.Genesis{Home: i.id, Epoch: home.Epoch{Number: 1, Host: string(i.id)}})
	if i.aged {
		var once, twice []home.SessionKey
		for k, x := range cast(i.id, true) {
			if key := (home.SessionKey{ClientID: x.id}); !x.role.listens() {
				continue
			} else if k%2 == 0 {
				once = append(once, key)
			} else {
				twice = append(twice, key)
			}
		}
		p.age(append(once, twice...), 1, ids-beforeWrap)
		p.age(twice, ids-beforeWrap+1, 2*ids-beforeWrap)
		p.do(&home.NodeDown{Owner: p.owner()})
	}
	kept := map[string][]byte{}
	p.state.Flush(func(k, v []byte) { kept[string(k)] = slices.Clone(v) }, func(k []byte) { delete(kept, string(k)) })
	return kept
}

type pressing struct {
	state *home.State
	id    home.ID
	n     uint64
	last  home.Outcome
}

func (p *pressing) owner() home.Owner { return home.Owner{Node: "press", Incarnation: 1} }

func (p *pressing) do(ops ...home.Op) {
	p.n++
	rec := home.Record{Home: p.id, Time: founded, Entries: []home.Entry{{Owner: p.owner(), N: p.n, Ops: ops}}}
	if err := p.state.Apply(&rec, sink{}, func(_ *home.Entry, _ int, o home.Outcome) { p.last = o }); err != nil {
		panic(err)
	}
}

// age gives sessions references and acknowledges them.
func (p *pressing) age(keys []home.SessionKey, from, to uint64) {
	const topic, step = "age", 1024
	epochs := map[home.SessionKey]home.SessionEpoch{}
	for _, k := range keys {
		p.do(&home.Attach{Session: k, Expiry: sessionExpiry})
		epochs[k] = p.last.Epoch
		p.do(&home.Subscribe{Session: k, Epoch: epochs[k], Filters: []home.Subscription{{Filter: topic, QoS: 1}}})
	}
	for ; from <= to; from += step {
		end := min(from+step-1, to)
		var ops []home.Op
		for range end - from + 1 {
			ops = append(ops, &home.Publish{Topic: topic, QoS: 1})
		}
		for _, k := range keys {
			ops = append(ops, &home.Ack{Session: k, Epoch: epochs[k], Done: []home.Range{{From: from, To: end}}})
		}
		p.do(ops...)
	}
	for _, k := range keys {
		p.do(&home.Unsubscribe{Session: k, Epoch: epochs[k], Filters: []string{topic}})
	}
}
