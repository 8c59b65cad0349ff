// Package lab is a wide-area network on one machine: sites that are network
// namespaces with a gateway each, and between them an emulator of delay, jitter,
// loss, rate, reordering, path MTU and outages. The end-to-end tests run real nodes
// in it, with real sockets, routers and NATs.
//
//	host ── veth ── gateway ── TUN ══ emulator ══ TUN ── gateway ── veth ── host
//
// A gateway routes or is a NAT; it can drop UDP and forget its NAT's mappings. Two
// hosts may have a WireGuard tunnel between them, whose packets go the same way. The
// emulator runs in the test's process, on packets that it reads from the gateways'
// TUN devices, and counts what passes: a test that cuts a path shows by those
// counters that nothing went around it.
//
// It needs root, iproute2 and nftables, and says so where one is missing. It makes
// namespaces named cwlab-PID-SITE and removes them when the test ends; those of a
// test that was killed are removed by the next one. Nothing outside of them is
// touched. It is no benchmark: about 20 us of CPU a packet, so keep a path at or
// below 200 Mbit/s.
package lab
