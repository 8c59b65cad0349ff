package app

import (
	"maps"
	"slices"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/link"
)

// relayRules are the regions between which this one relays.
func relayRules(rules []config.RelayRule) (out []link.RelayRule) {
	for _, r := range rules {
		out = append(out, link.RelayRule{Between: r.Between, Rate: uint64(r.Rate)})
	}
	return out
}

// relayed is what this region relays for a peer, and refuses it.
func relayed(s link.Status) ([]admin.LinkRelayed, []admin.LinkRefused) {
	list, refused := []admin.LinkRelayed{}, []admin.LinkRefused{}
	for _, r := range s.Relayed {
		list = append(list, admin.LinkRelayed{To: string(r.To), Open: r.Open, Tunnels: int64(r.Tunnels), Bytes: int64(r.Bytes)})
	}
	for _, reason := range slices.Sorted(maps.Keys(s.RelayRefused)) {
		refused = append(refused, admin.LinkRefused{Reason: reason, Count: int64(s.RelayRefused[reason])})
	}
	return list, refused
}
