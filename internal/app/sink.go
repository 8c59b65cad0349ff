package app

import (
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/link"
	"causeway/link/wire"
)

// sink passes on what the home says to whom it concerns.
type sink struct{ h *homeService }

func (s sink) Deliver(d home.Delivery) { s.h.house.Deliver(d) }

func (s sink) Queued(k home.SessionKey, e home.SessionEpoch, o home.Owner) {
	s.h.house.Queued(k, e, o)
}

func (s sink) Ended(k home.SessionKey, e home.SessionEpoch, o home.Owner, why home.EndReason) {
	s.h.house.Ended(k, e, o, why)
}

// Roamed hears of sessions that move between homes.
func (s sink) Roamed(k home.SessionKey) { s.h.a.roaming.Roamed(k) }

func (s sink) Spooled(peer home.ID) {
	if s.h.links != nil {
		s.h.links.Spooled(peer)
	}
	if f := s.h.foreign(); f != nil {
		f.Spooled(peer)
	}
}

// Documented tells who watches. It implements home.DocumentSink.
func (s sink) Documented(string) { s.h.documents.change() }

func (s sink) Wanted() {
	if s.h.links != nil {
		s.h.links.Wanted()
	}
}

// Dropped counts, but not what a replay of the log tells again.
func (s sink) Dropped(place string, reason home.DropReason, n int) {
	// Every copy hears it; one counts.
	if r := s.h.current(); r == nil || !r.Leads() {
		return
	}
	s.h.a.metrics.Dropped(place, string(reason), n)
}

func linkPeer(l *config.Link) link.Peer {
	p := link.Peer{ID: home.ID(l.Peer), Dial: l.Dial}
	switch l.Compression {
	case config.CompressionZstd:
		p.Compress = wire.CodecZstd
	case config.CompressionS2:
		p.Compress = wire.CodecS2
	}
	return p
}
