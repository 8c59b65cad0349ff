package simlab

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"causeway/internal/config"
	"causeway/internal/takeover"
	"causeway/internal/takeover/agent"
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

// heldBy are two devices of eu's home, a publisher and a subscriber, that go where it is served.
func heldBy(t *testing.T, l *Lab) (pub, sub *Device) {
	t.Helper()
	pub = l.Device(DeviceOptions{Region: "eu", ID: "pub", Anywhere: true})
	sub = l.Device(DeviceOptions{Region: "eu", ID: "sub", Anywhere: true})
	sub.Subscribe(1, "t/#")
	settle(t, l)
	await(t, l, "copies", func() bool { return l.together() == nil })
	publish(pub, 20, Message{Topic: "t/a", QoS: 1})
	await(t, l, "acknowledgements", pub.Idle)
	return pub, sub
}

func serves(t *testing.T, l *Lab, region, id string) {
	t.Helper()
	await(t, l, region+" to serve "+id, func() bool { return l.Region(region).Serves(id) })
}

func start(t *testing.T, l *Lab, region string) {
	t.Helper()
	if err := l.Region(region).Start(); err != nil {
		t.Fatal(err)
	}
}

// mended waits until all that was set aside is taken in and the copies are one again.
func mended(t *testing.T, l *Lab) {
	t.Helper()
	var why error
	if err := l.Await("all to be mended", 3*patience, func() bool {
		done, err := l.reconcile()
		if why = err; done && err == nil {
			why = l.together()
		}
		return done && why == nil
	}); err != nil {
		t.Fatal(err, why, l.homes())
	}
}

// A region loses all its disks while the standby serves its home, or before it does: started anew
// it does not found its home a second time, but waits, stands by with a copy, and gets it back.
func TestRegionWiped_DoesNotFoundItsHomeAnew(t *testing.T) {
	for name, c := range map[string]struct {
		mode     config.TakeoverMode
		witness  bool
		oneSided bool
	}{
		"taken over by votes": {mode: config.TakeoverAuto, witness: true}, "by an operator, later": {mode: config.TakeoverManual, witness: true},
		"without a witness": {mode: config.TakeoverManual}, "without a witness, of whom nobody dials the other": {mode: config.TakeoverManual, oneSided: true},
	} {
		t.Run(name, func(t *testing.T) {
			mode, o := c.mode, pairOf(c.mode)
			if o.OneSided = c.oneSided; !c.witness {
				o.Takeover.Witnesses = nil
			}
			in(t, o, func(t *testing.T, l *Lab) {
				pub, _ := heldBy(t, l)
				eu, us := l.Region("eu"), l.Region("us")
				for _, n := range eu.nodes {
					n.Wipe()
				}
				if mode == config.TakeoverManual {
					start(t, l, "eu")
					time.Sleep(30 * time.Second)
					if c := eu.copyOf("eu"); eu.Serves("eu") || c != nil && c.ID() != "" {
						t.Fatal("the home was founded anew")
					}
					l.FailOver("us", "eu", false, patience)
				}
				serves(t, l, "us", "eu")
				start(t, l, "eu")
				publish(pub, 20, Message{Topic: "t/a", QoS: 1})
				await(t, l, "acknowledgements", pub.Idle)
				mended(t, l)
				if e := us.copyOf("eu").Epoch(); e.Number != 2 {
					t.Errorf("it is served at epoch %s", e)
				}
				await(t, l, "the way back", func() bool { l.switchOver("eu", "eu"); return eu.Serves("eu") })
				mended(t, l)
				check(t, l)
			})
		})
	}
}

// A home that only half of the others heard of could be founded a second time while the other half
// is asked: it is served, and gets a standby when both know of it.
func TestNewRegion_GetsStandbysWhenItCannotBeFoundedTwice(t *testing.T) {
	inFrom(t, pairOf(config.TakeoverAuto), func(l *Lab) { l.witnesses[0].Crash() }, func(t *testing.T, l *Lab) {
		serves(t, l, "eu", "eu")
		time.Sleep(30 * time.Second)
		if got := l.Region("eu").copyOf("eu").Takeover().Standbys; len(got) > 0 || !l.Region("eu").Serves("eu") {
			t.Fatalf("the standbys are %v", got)
		}
		if err := l.witnesses[0].Start(); err != nil {
			t.Fatal(err)
		}
		await(t, l, "copies", func() bool { return l.together() == nil && len(l.Region("eu").copyOf("eu").Takeover().Standbys) == 1 })
		heldBy(t, l)
		check(t, l)
	})
}

// The lost region is not dead. Behind a cut it keeps its devices and takes in what they publish,
// while an operator has the other one serve: both serve. When they see each other again the lost
// one is fenced, what it took in is read and approved, and everybody has all of it.
func TestPartition_BothServe(t *testing.T) {
	in(t, pairOf(config.TakeoverManual), func(t *testing.T, l *Lab) {
		heldBy(t, l)
		alone := l.Device(DeviceOptions{Region: "eu", ID: "alone"}) // reaches eu only
		far := subscriber(l, "us", "far", 1, "t/#")
		settle(t, l)
		l.CutOff("eu")
		publish(alone, 50, Message{Topic: "t/alone", QoS: 1})
		l.FailOver("us", "eu", false, patience)
		serves(t, l, "us", "eu")
		publish(alone, 50, Message{Topic: "t/alone", QoS: 1})
		await(t, l, "acknowledgements by the region that is cut off", alone.Idle)
		if got := l.Serving("eu"); len(got) != 2 {
			t.Fatalf("%v serve", got)
		}
		l.Rejoin("eu")
		await(t, l, "the lost region to be fenced", func() bool { return !l.Region("eu").Serves("eu") })
		alone.Move("us-1")
		mended(t, l)
		check(t, l)
		if n := messages(far, alone); n != 100 {
			t.Errorf("a device of us saw %d of the 100 messages", n)
		}
	})
}

// All clocks on the wall are wrong, by days and both ways, and run at speeds of their own. No lease
// lapses and nobody is promoted for that, nothing expires early, and when the region is lost indeed,
// and all of it starts again with one of three clocks wrong, home time goes on as if nothing was.
func TestClocksJump_NothingExpires(t *testing.T) {
	o := pairOf(config.TakeoverAuto)
	o.Nodes, o.Expiry, o.WrongSpeeds = []int{3, 1}, uint32(hour/time.Second), true
	in(t, o, func(t *testing.T, l *Lab) {
		pub, _ := heldBy(t, l)
		eu, us := l.Region("eu"), l.Region("us")
		away := subscriber(l, "eu", "away", 1, "t/#")
		settle(t, l)
		away.Offline()
		onTime := func(when string) {
			t.Helper()
			for _, id := range l.opt.Regions {
				for _, r := range l.regions {
					if off := time.Unix(0, int64(r.copyOf(id).Now())).Sub(time.Now()).Abs(); off > time.Minute {
						t.Errorf("%s: home time of %s at %s is %s off", when, id, r.Name, off)
					}
				}
			}
		}
		for _, n := range l.Nodes() {
			n.wall.set(240*hour, n.wall.pace())
		}
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		time.Sleep(30 * time.Second)
		us.nodes[0].wall.set(-240*hour, us.nodes[0].wall.pace())
		time.Sleep(30 * time.Second)
		onTime("after the jumps")
		if e := eu.copyOf("eu").Epoch(); e.Number != 1 || !eu.Serves("eu") {
			t.Fatalf("eu serves %v, at epoch %s", eu.Serves("eu"), e)
		}
		eu.Crash()
		for i, n := range eu.nodes {
			n.wall.set(time.Duration(i/2)*240*hour, n.wall.pace())
		}
		serves(t, l, "us", "eu")
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		await(t, l, "acknowledgements", pub.Idle)
		start(t, l, "eu")
		mended(t, l)
		onTime("after the loss")
		await(t, l, "the way back", func() bool { l.switchOver("eu", "eu"); return eu.Serves("eu") })
		eu.Crash()
		us.Crash()
		start(t, l, "us")
		start(t, l, "eu")
		serves(t, l, "eu", "eu")
		mended(t, l)
		onTime("after a full stop")
		away.Online()
		check(t, l)
	})
}

// The witness is lost in the moment in which it is needed: the region stays unserved, since nobody
// has a majority, until the witness is back.
func TestWitnessLost_DuringTheFailover(t *testing.T) {
	in(t, pairOf(config.TakeoverAuto), func(t *testing.T, l *Lab) {
		pub, _ := heldBy(t, l)
		l.Region("eu").Crash()
		time.Sleep(2 * time.Second)
		l.witnesses[0].Crash()
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		time.Sleep(time.Minute)
		if got := l.Serving("eu"); len(got) > 0 {
			t.Fatalf("%v serve without a majority", got)
		}
		if err := l.witnesses[0].Start(); err != nil {
			t.Fatal(err)
		}
		serves(t, l, "us", "eu")
		await(t, l, "acknowledgements", pub.Idle)
		start(t, l, "eu")
		mended(t, l)
		check(t, l)
	})
}

// ringOf are three regions, each a standby of the others, and two witnesses.
func ringOf(mode config.TakeoverMode) Options {
	o := pairOf(mode)
	o.Regions = []string{"eu", "us", "ap"}
	o.Takeover.Standbys, o.Takeover.Witnesses = ring(o.Regions), []string{"w1", "w2"}
	return o
}

// A second region dies while it has hardly taken over from the first: the third takes over what
// that one shipped on, and both come back and are reconciled.
func TestSecondRegionFails_DuringTheFirstFailover(t *testing.T) {
	in(t, ringOf(config.TakeoverAuto), func(t *testing.T, l *Lab) {
		pub, _ := heldBy(t, l)
		l.Region("eu").Crash()
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		serves(t, l, "us", "eu")
		shipsOn := func() bool {
			c, host := l.Region("ap").copyOf("eu"), l.Region("us").copyOf("eu")
			return c != nil && host != nil && c.Epoch() == host.Epoch() && !l.homeAt("ap", "eu").Short
		}
		await(t, l, "the new host to ship on", shipsOn)
		time.Sleep(3 * time.Second) // what ap heard of the voters may be older than that the new host had no standby
		await(t, l, "all voters to know it", shipsOn)
		l.Region("us").Crash()
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		serves(t, l, "ap", "eu")
		await(t, l, "acknowledgements", pub.Idle)
		start(t, l, "eu")
		start(t, l, "us")
		mended(t, l)
		check(t, l)
	})
}

// Both hosts are gone, and an operator goes back to the old copy of the third: what each of the two
// had acknowledged since comes from its disks, and once.
func TestForcedBack_BothSuffixesAreReconciled(t *testing.T) {
	in(t, ringOf(config.TakeoverManual), func(t *testing.T, l *Lab) {
		pub, _ := heldBy(t, l)
		l.Region("us").Crash() // so that eu ships to ap, which has an old copy then
		publish(pub, 10, Message{Topic: "t/old", QoS: 1})
		await(t, l, "ap to have a copy", func() bool {
			c, host := l.Region("ap").copyOf("eu"), l.Region("eu").copyOf("eu")
			return pub.Idle() && c != nil && c.ID() != "" && c.Position() == host.Position()
		})
		l.CutOff("ap")
		start(t, l, "us")
		publish(pub, 10, Message{Topic: "t/eu", QoS: 1})
		await(t, l, "us to have what eu has", func() bool {
			c, host := l.Region("us").copyOf("eu"), l.Region("eu").copyOf("eu")
			return pub.Idle() && c != nil && c.Position() == host.Position()
		})
		l.Net.Cut("eu", "us")
		l.setDoubt(true)                                  // what a lost host has comes late, when it is reconciled
		publish(pub, 10, Message{Topic: "t/eu2", QoS: 1}) // only eu has it
		await(t, l, "acknowledgements", pub.Idle)
		l.Region("eu").Crash()
		l.FailOver("us", "eu", true, patience)
		serves(t, l, "us", "eu")
		publish(pub, 10, Message{Topic: "t/us", QoS: 1}) // only us has it
		await(t, l, "acknowledgements", pub.Idle)
		l.setDoubt(false)
		l.Region("us").Crash()
		l.Rejoin("ap")
		await(t, l, "ap to hear of the epoch that us served", func() bool { return l.homeAt("ap", "eu").InForce.Host == "us" })
		l.FailOver("ap", "eu", true, patience)
		serves(t, l, "ap", "eu")
		publish(pub, 10, Message{Topic: "t/ap", QoS: 1})
		await(t, l, "acknowledgements", pub.Idle)
		l.Net.Heal("eu", "us")
		start(t, l, "eu")
		start(t, l, "us")
		mended(t, l)
		check(t, l)
	})
}

// The region dies and comes back: its devices go on at the standby, what it had acknowledged
// and not shipped comes from its disks, and nothing is lost.
func TestRegionDies_AndReturns(t *testing.T) {
	in(t, pairOf(config.TakeoverAuto), func(t *testing.T, l *Lab) {
		subscriber(l, "us", "far", 1, "t/#")
		pub, _ := heldBy(t, l)
		l.Region("eu").Crash()
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		serves(t, l, "us", "eu")
		await(t, l, "acknowledgements", pub.Idle)
		start(t, l, "eu")
		mended(t, l)
		check(t, l)
	})
}

// A switchover waits for a standby that was cut off in the moment in which it began, longer than a node may be cut off before it
// closes its connections. It is given up, and the devices are where they were.
func TestSwitchover_ThatWaitsClosesNobody(t *testing.T) {
	in(t, pairOf(config.TakeoverManual), func(t *testing.T, l *Lab) {
		pub, sub := heldBy(t, l)
		before := []int{pub.connects(), sub.connects()}
		if err := l.Region("eu").Order(agent.Switchover, agent.Order{Home: "eu", To: "us", By: "lab", Wait: 12 * time.Second}); err != nil {
			t.Fatal(err)
		}
		l.Net.Cut("eu", "us")
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		time.Sleep(11 * time.Second)
		if act := l.homeAt("eu", "eu").Act; act == nil || act.Outcome != "" {
			t.Fatalf("the switchover does not wait: %+v", act)
		}
		await(t, l, "the switchover to be given up", func() bool { return l.homeAt("eu", "eu").Act.Outcome == agent.Aborted })
		l.Net.Heal("eu", "us")
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		await(t, l, "acknowledgements", pub.Idle)
		if after := []int{pub.connects(), sub.connects()}; !slices.Equal(before, after) {
			t.Errorf("the devices connected %v times before the switchover and %v after it", before, after)
		}
		check(t, l)
	})
}

// connects is how often the device was connected.
func (d *Device) connects() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

// A witness is replaced: the new one is added to the files, then the old one is taken out. The
// home's log follows one voter at a time, and the new witness's vote is what a failover needs.
func TestWitnessReplaced_TheNewOneDecides(t *testing.T) {
	o := pairOf(config.TakeoverAuto)
	o.Takeover.Witnesses = []string{"w1", "w2"}
	without := func(name string) func(*config.Config) {
		return func(c *config.Config) {
			c.Regions = slices.DeleteFunc(slices.Clone(c.Regions), func(r config.Region) bool { return r.Name == name })
		}
	}
	o.Config = without("w2")
	in(t, o, func(t *testing.T, l *Lab) {
		pub, _ := heldBy(t, l)
		whole := o.Takeover.list(l)
		for _, next := range []func(*config.Config){func(c *config.Config) { c.Regions = whole }, without("w1")} {
			for _, n := range l.Nodes() {
				n.Configure(next)
				if err := errors.Join(n.Stop(), n.Start()); err != nil {
					t.Fatal(err)
				}
			}
			want := l.Node("eu-1").cfg.Voters()
			await(t, l, fmt.Sprintf("the voters %v", want), func() bool {
				c := l.Region("eu").copyOf("eu")
				return c != nil && takeover.ListID(c.Takeover().Voters) == takeover.ListID(want) && l.together() == nil
			})
		}
		l.witnesses[0].Crash()
		l.Region("eu").Crash()
		publish(pub, 20, Message{Topic: "t/a", QoS: 1})
		serves(t, l, "us", "eu")
		await(t, l, "acknowledgements", pub.Idle)
		start(t, l, "eu")
		mended(t, l)
		check(t, l)
	})
}

// What may be stored in eu only was acknowledged there, and eu is lost, with some of it that was not shipped: for who waits
// there is a number without a message at us. It is left out there, and what comes behind it is delivered. It is owed, and comes
// when eu is back and serves again: each message once, to who was at us meanwhile and to who was not.
func TestWithheld_ComesBackWithTheLostRegion(t *testing.T) {
	for name, c := range map[string]struct {
		planned, back, seen bool
	}{
		"it is left out at the standby":             {},
		"it is there after the way back":            {back: true},
		"it comes late to who was at the standby":   {back: true, seen: true},
		"it is there when the home was moved":       {planned: true, back: true},
		"also to who was at the standby, if it was": {planned: true, back: true, seen: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := pairOf(config.TakeoverManual)
			o.Config = func(c *config.Config) {
				c.Residency = []config.ResidencyRule{{Namespace: "default", Filter: "secret/#", Regions: []string{"eu"}}}
			}
			in(t, o, func(t *testing.T, l *Lab) {
				pub, sub := heldBy(t, l)
				secret := l.Device(DeviceOptions{Region: "eu", ID: "secret", Anywhere: true})
				two := l.Device(DeviceOptions{Region: "eu", ID: "two", Anywhere: true})
				two.Subscribe(2, "#")
				sub.Subscribe(1, "secret/#")
				settle(t, l)
				sub.Offline()
				two.Offline()
				publish(secret, 5, Message{Topic: "secret/a", QoS: 2})
				publish(secret, 5, Message{Topic: "secret/r", QoS: 1, Retain: true})
				publish(pub, 5, Message{Topic: "t/b", QoS: 1})
				await(t, l, "acknowledgements", func() bool { return pub.Idle() && secret.Idle() })
				await(t, l, "copies", func() bool { return l.together() == nil })
				if c.planned {
					await(t, l, "the way there", func() bool { l.switchOver("eu", "us"); return l.Region("us").Serves("eu") })
				} else {
					l.Net.Cut("eu", "us")
					l.setDoubt(true) // what a lost host has comes late, when it is reconciled
					publish(secret, 5, Message{Topic: "secret/b", QoS: 1})
					await(t, l, "acknowledgements", secret.Idle)
					l.setDoubt(false)
					l.Region("eu").Crash()
					l.FailOver("us", "eu", true, patience)
					serves(t, l, "us", "eu")
					l.Net.Heal("eu", "us")
					start(t, l, "eu")
				}
				secrets := 15
				if c.planned {
					secrets = 10
				}
				mended(t, l)
				all := map[*Device]int{sub: 25, two: 5} // of pub's messages
				online := func() {
					sub.Online()
					two.Online()
					publish(pub, 5, Message{Topic: "t/c", QoS: 1})
					for d := range all {
						all[d] += 5
						await(t, l, "what comes behind it, for "+d.ID, func() bool { return messages(d, pub) == all[d] })
					}
				}
				if c.seen || !c.back {
					online()
					for d := range all {
						if n := messages(d, secret); n != 0 {
							t.Errorf("%s was given %d messages that us may not store", d.ID, n)
						}
					}
				}
				if !c.back {
					await(t, l, "what is owed", func() bool { return l.Region("us").copyOf("eu").Status().Owed == 2*secrets })
					return
				}
				await(t, l, "the way back", func() bool { l.switchOver("eu", "eu"); return l.Region("eu").Serves("eu") })
				online()
				for d := range all {
					await(t, l, "what us could not store, for "+d.ID, func() bool { return messages(d, secret) == secrets })
					wellServed(t, d)
				}
				mended(t, l)
				if n, _ := l.Region("eu").aside("eu"); n != 0 {
					t.Errorf("%d copies are kept for what came back", n)
				}
				check(t, l)
			})
		})
	}
}

// wellServed says that nobody broke a rule towards a device.
func wellServed(t *testing.T, d *Device) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.broken) > 0 {
		t.Errorf("%s: %v", d.ID, d.broken)
	}
}
