package link

import (
	"fmt"
	mrand "math/rand/v2"
	"testing"
	"time"

	"causeway/internal/home"
)

// Random faults in both regions and on the way, from a seed: cuts of one or both
// directions, loss, doubled packets, UDP blocked and allowed again, crashes of
// either node, a home that does not commit for a while. In the end every message is
// there once and in order.
func TestLink_Seeds(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { faults(t, seed) })
		})
	}
}

func faults(t *testing.T, seed uint64) {
	rng := mrand.New(mrand.NewPCG(seed, 1))
	w := newWorld(t, time.Duration(1+rng.IntN(60))*time.Millisecond)
	defer w.close()
	to := []func(string) Peer{peerToBoth, peerToBoth, peerTo, peerOverTCP}
	peers := [2]Peer{to[rng.IntN(4)]("us"), to[rng.IntN(4)]("eu")}
	if rng.IntN(2) == 0 {
		peers[rng.IntN(2)].Dial = nil
	}
	eu, us := w.region("eu", peers[0]), w.region("us", peers[1])
	us.home.subscribe(t, "dev", "e/#")
	eu.home.subscribe(t, "dev", "u/#")
	wantsKnown(t, eu, us)
	wantsKnown(t, us, eu)
	sent := [2]int{}
	publish := func() {
		for i, n := range []*node{eu, us} {
			k := rng.IntN(60)
			topic := []string{"e/x", "u/x"}[i]
			if rng.IntN(2) == 0 {
				n.home.publishNoise(t, topic, sent[i], sent[i]+k)
			} else {
				n.home.publish(t, topic, sent[i], sent[i]+k)
			}
			sent[i] += k
			for range rng.IntN(3) {
				n.home.do(t, &home.Publish{Topic: "unwanted", QoS: 1})
			}
		}
	}
	for range 25 {
		publish()
		n, other := eu, us
		if rng.IntN(2) == 0 {
			n, other = us, eu
		}
		switch rng.IntN(10) {
		case 0:
			w.wan.setCut(ip("eu"), ip("us"), true)
		case 1:
			w.wan.oneWay(ip(n.name), ip(other.name), true)
		case 2, 3:
			w.wan.setCut(ip("eu"), ip("us"), false)
		case 4:
			w.wan.set(rng.Float64()*0.1, rng.Float64()*0.1)
		case 5:
			n.start(n.crash()) // heals what it sends
		case 7, 8:
			w.wan.blockUDP(rng.IntN(2) == 0)
		case 6:
			n.home.hold(true)
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			n.home.hold(false)
		}
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
	}
	w.wan.setCut(ip("eu"), ip("us"), false)
	w.wan.set(0, 0)
	w.wan.blockUDP(false)
	publish()
	a := drained(t, eu, "us", 2*time.Minute)
	b := drained(t, us, "eu", 2*time.Minute)
	same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, sent[0]))
	same(t, eu.home.queue(t, "dev"), numbered("us", "u/x", 0, sent[1]))
	c := eu.status("us").Counters
	t.Logf("%d and %d messages, drained %v after the faults; %d tunnels, %d over TCP", sent[0], sent[1], max(a, b), c.Tunnels, c.TunnelsTCP)
}
