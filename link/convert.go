package link

import (
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
	"causeway/routing"
)

// Between the home's types and the wire's, which do not know each other.

func wireEpoch(e home.Epoch) wire.Epoch { return wire.Epoch{Number: e.Number, Host: e.Host} }
func homeEpoch(e wire.Epoch) home.Epoch { return home.Epoch{Number: e.Number, Host: e.Host} }

func wireSource(s home.Source) wire.Source {
	return wire.Source{Home: string(s.Home), Epoch: wireEpoch(s.Epoch)}
}

func homeSource(s wire.Source) home.Source {
	return home.Source{Home: home.ID(s.Home), Epoch: homeEpoch(s.Epoch)}
}

func wireDigest(d routing.Digest) wire.Digest { return wire.Digest{Hi: d.Hi, Lo: d.Lo} }
func homeDigest(d wire.Digest) routing.Digest { return routing.Digest{Hi: d.Hi, Lo: d.Lo} }

func wireFilters(list []routing.Filter) []wire.Filter {
	out := make([]wire.Filter, len(list))
	for i, f := range list {
		out[i] = wire.Filter(f)
	}
	return out
}

func routingFilters(list []wire.Filter) []routing.Filter {
	out := make([]routing.Filter, len(list))
	for i, f := range list {
		out[i] = routing.Filter(f)
	}
	return out
}

// millis is what is left of a message's life, rounded up so that it never
// becomes 0, which means for ever.
func millis(left time.Duration) uint64 {
	return uint64((left + time.Millisecond - 1) / time.Millisecond)
}

// maxLife keeps what a peer says of a life from overflowing a duration.
const maxLife = 100 * 365 * 24 * time.Hour

func life(millis uint64) time.Duration {
	return time.Duration(min(millis, uint64(maxLife/time.Millisecond))) * time.Millisecond
}
