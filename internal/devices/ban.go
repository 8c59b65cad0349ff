package devices

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// What a ban is about.
const (
	BanClient  = "client"  // a client id of a namespace
	BanUser    = "user"    // a user name of a namespace
	BanAddress = "address" // an address or a prefix of addresses
)

// Ban keeps devices out.
type Ban struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace,omitempty"` // of a client or user
	Value     string    `json:"value"`
	Until     time.Time `json:"until,omitzero"` // zero: until it is taken back
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	Reason    string    `json:"reason,omitempty"`
	Jail      bool      `json:"jail,omitempty"` // the region's own doing: the device flapped
}

// ID names a ban: the same for whatever bans the same.
func (b *Ban) ID() string {
	h := sha256.Sum256([]byte(b.Kind + "\x00" + b.Namespace + "\x00" + b.Value))
	return hex.EncodeToString(h[:8])
}

// Over says that it does not hold any more.
func (b *Ban) Over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// maxBanValue bounds what is banned; a client id of that length is no device's.
const maxBanValue = 1024

// leastPrefix bounds how many addresses one ban is about: all of them is a fleet.
const (
	leastPrefix4 = 8
	leastPrefix6 = 16
)

// Check brings a ban into its form, or says what is wrong.
func (b *Ban) Check() error {
	switch {
	case b.Value == "" || len(b.Value) > maxBanValue:
		return fmt.Errorf("a ban names 1 to %d bytes", maxBanValue)
	case len(b.Reason) > maxBanValue:
		return fmt.Errorf("a reason has at most %d bytes", maxBanValue)
	case b.Kind == BanClient || b.Kind == BanUser:
		if b.Namespace == "" {
			return errors.New("a ban of a client or a user names its namespace")
		}
		return nil
	case b.Kind != BanAddress:
		return fmt.Errorf("%q cannot be banned: use client, user or address", b.Kind)
	}
	p, err := netip.ParsePrefix(b.Value)
	if err != nil {
		a, aerr := netip.ParseAddr(b.Value)
		if aerr != nil || a.Zone() != "" {
			return fmt.Errorf("%q is no address: use 10.1.2.3, 10.1.0.0/16 or 2001:db8::/32", b.Value)
		}
		p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	}
	if p.Addr().Is4In6() {
		return fmt.Errorf("%q is an IPv4 prefix in the form of IPv6: use the one of IPv4", b.Value)
	}
	if least := map[bool]int{true: leastPrefix4, false: leastPrefix6}[p.Addr().Is4()]; p.Bits() < least {
		return fmt.Errorf("%q would keep out far more than a network: a prefix has at least %d bits", b.Value, least)
	}
	b.Value, b.Namespace = p.Masked().String(), ""
	return nil
}

// Bans is who is not let in.
type Bans struct{ in atomic.Pointer[bans] }

type bans struct {
	clients, users map[Key]*Ban
	addresses      map[netip.Prefix]*Ban
	lengths        []int // of prefixes, times two; odd: of IPv6
}

// NewBans lets everybody in.
func NewBans() *Bans {
	b := &Bans{}
	b.Set(nil)
	return b
}

// Set replaces all of them. Those that are not in form are left out.
func (b *Bans) Set(all []Ban) {
	in := &bans{clients: map[Key]*Ban{}, users: map[Key]*Ban{}, addresses: map[netip.Prefix]*Ban{}}
	lengths := map[int]bool{}
	for i := range all {
		x := all[i]
		if x.Check() != nil {
			continue
		}
		k := Key{x.Namespace, x.Value}
		switch x.Kind {
		case BanClient:
			in.clients[k] = &x
		case BanUser:
			in.users[k] = &x
		case BanAddress:
			p, err := netip.ParsePrefix(x.Value)
			if err != nil {
				continue
			}
			in.addresses[p] = &x
			lengths[lengthOf(p.Addr(), p.Bits())] = true
		}
	}
	for n := range lengths {
		in.lengths = append(in.lengths, n)
	}
	b.in.Store(in)
}

func lengthOf(a netip.Addr, bits int) int {
	if a.Is6() {
		return 2*bits + 1
	}
	return 2 * bits
}

// Address returns the ban of an address, host:port or host; nil: there is none.
func (b *Bans) Address(remote string, now time.Time) *Ban {
	in := b.in.Load()
	if len(in.lengths) == 0 {
		return nil
	}
	a, err := netip.ParseAddr(hostOf(remote))
	if err != nil {
		return nil
	}
	a = a.Unmap().WithZone("")
	for _, n := range in.lengths {
		if a.Is6() != (n%2 == 1) {
			continue
		}
		p, err := a.Prefix(n / 2)
		if err != nil {
			continue
		}
		if x := in.addresses[p]; x != nil && !x.Over(now) {
			return x
		}
	}
	return nil
}

// hostOf is an address without its port.
func hostOf(remote string) string {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().String()
	}
	return strings.Trim(remote, "[]")
}

// Device returns the ban of a client or of its user; nil: there is none.
func (b *Bans) Device(k Key, user string, now time.Time) *Ban {
	in := b.in.Load()
	if x := in.clients[k]; x != nil && !x.Over(now) {
		return x
	}
	if len(in.users) > 0 && user != "" {
		if x := in.users[Key{k.Namespace, user}]; x != nil && !x.Over(now) {
			return x
		}
	}
	return nil
}
