package simlab

import (
	"testing"
	"time"

	"causeway/internal/config"
)

// pairOf are two regions, each other's standby, and a witness.
func pairOf(mode config.TakeoverMode) Options {
	return Options{Regions: []string{"eu", "us"}, Takeover: &Takeover{Standbys: map[string][]string{"eu": {"us"}, "us": {"eu"}},
		Witnesses: []string{"w1"}, Mode: mode, Isolation: isolationOf(mode), WillGrace: 2 * time.Second}}
}

func isolationOf(mode config.TakeoverMode) config.Isolation {
	if mode == config.TakeoverAuto {
		return config.IsolationSelfFence
	}
	return config.IsolationServe
}

// The region dies and comes back: its devices go on at the standby, what it had acknowledged
// and not shipped comes from its disks, and nothing is lost.
func TestRegionDies_AndReturns(t *testing.T) {
	in(t, pairOf(config.TakeoverAuto), func(t *testing.T, l *Lab) {
		pub := l.Device(DeviceOptions{Region: "eu", ID: "pub", Anywhere: true})
		sub := l.Device(DeviceOptions{Region: "eu", ID: "sub", Anywhere: true})
		sub.Subscribe(1, "t/#")
		far := subscriber(l, "us", "far", 1, "t/#")
		settle(t, l)
		await(t, l, "copies", func() bool { return l.together() == nil })
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		await(t, l, "acknowledgements", pub.Idle)
		l.Region("eu").Crash()
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		await(t, l, "us to serve", func() bool { return l.Region("us").Serves("eu") })
		await(t, l, "acknowledgements", pub.Idle)
		if err := l.Region("eu").Start(); err != nil {
			t.Fatal(err)
		}
		await(t, l, "all to be mended", func() bool { done, _ := l.reconcile(); return done && l.together() == nil })
		check(t, l)
		_ = far
	})
}
