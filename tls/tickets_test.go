package meshtls

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// A device resumes its session at another node of the region, or after a restart, where listeners share their tickets; at one
// of another name or key, or without, it begins anew. A day later it still does, and two later not any more.
func TestDevice_TicketsOfARegion(t *testing.T) {
	ca := newCA(t, CAOptions{})
	id := Identity{Region: "eu", DNSNames: []string{"broker.example.com"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
	one, two := issueTo(t, ca, id), issueTo(t, ca, id)
	device := func(files Files, tickets string) *Device {
		t.Helper()
		d, err := NewDevice(DeviceOptions{CertFile: files.Cert, KeyFile: files.Key, Tickets: tickets})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	later := func(d *Device, days int) *Device {
		d.cur.Load().turnTickets(time.Now().AddDate(0, 0, days))
		return d
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tc := range []struct {
			name     string
			from, to *Device
			resumes  bool
		}{
			{"another node", device(one, "cars"), device(one, "cars"), true},
			{"another listener", device(one, "cars"), device(one, "vans"), false},
			{"another key", device(one, "cars"), device(two, "cars"), false},
			{"of their own", device(one, ""), device(one, ""), false},
			{"a day later", device(one, "cars"), later(device(one, "cars"), 1), true},
			{"a clock that is behind", later(device(one, "cars"), 1), device(one, "cars"), true},
			{"two days later", device(one, "cars"), later(device(one, "cars"), 2), false},
		} {
			t.Run(tls.VersionName(version)+", "+tc.name, func(t *testing.T) {
				client := deviceClient(ca, nil)
				client.MinVersion, client.MaxVersion, client.ClientSessionCache = version, version, tls.NewLRUClientSessionCache(1)
				for i, d := range []*Device{tc.from, tc.to} {
					_, s, cerr, serr := handshake(t, client, d.Config())
					if cerr != nil || serr != nil || s.ConnectionState().DidResume != (i == 1 && tc.resumes) {
						t.Errorf("connect %d: %v, %v, resumed %v", i, cerr, serr, s.ConnectionState().DidResume)
					}
				}
			})
		}
	}
}
