package simlab

import (
	"errors"
	"strings"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/app"
	"causeway/internal/store"
)

func TestReceiverCrash_BetweenCommitAndAck(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		pub, sub := publisher(l, "eu", "pub"), subscriber(l, "us", "sub", 2, "t/#")
		settle(t, l)
		pub.Publish(Message{Topic: "t/a", QoS: 2}) // opens the stream
		await(t, l, "the first message to be acknowledged", func() bool { s, _ := l.Link("eu", "us"); return messages(sub, pub) == 1 && s.LagMessages == 0 })
		// given frames that us has committed while none of its acks gets to eu
		l.Net.CutOneWay("us", "eu")
		publish(pub, 20, Message{Topic: "t/a", QoS: 2})
		await(t, l, "us to have them", func() bool { return messages(sub, pub) == 21 })
		if s, _ := l.Link("eu", "us"); s.LagMessages != 20 {
			t.Fatalf("eu's spool holds %d messages, want all 20: none was acknowledged", s.LagMessages)
		}
		// when us crashes and eu sends them again
		l.Region("us").Crash()
		l.Net.Heal("eu", "us")
		if err := l.Region("us").Start(); err != nil {
			t.Fatal(err)
		}
		// then us knows them by its cursor: each is seen once, and eu forgets them
		await(t, l, "eu's spool to be trimmed", func() bool { s, ok := l.Link("eu", "us"); return ok && s.LagMessages == 0 })
		publish(pub, 20, Message{Topic: "t/a", QoS: 2})
		check(t, l)
		if n := messages(sub, pub); n != 41 {
			t.Errorf("%d messages seen, want 41", n)
		}
	})
}

func TestKillNode_QoS2Once(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		// given QoS 2 all the way, here and over a link
		pub := publisher(l, "eu", "pub")
		subs := []*Device{subscriber(l, "eu", "near", 2, "t/#"), subscriber(l, "us", "far", 2, "t/#")}
		settle(t, l)
		publish(pub, 600, Message{Topic: "t/a", QoS: 2, Size: 200})
		// when either side is killed ten times, each time between two steps of its disk
		for i := range 20 {
			r := l.Nodes()[i%2]
			select {
			case <-r.CrashAtOp(5 + 7*i):
			case <-time.After(20 * time.Second): // nothing more to write
			}
			time.Sleep(200 * time.Millisecond)
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
		}
		// then every message comes once, in order
		check(t, l)
		for _, s := range subs {
			if n := messages(s, pub); n != 600 {
				t.Errorf("%s saw %d messages, want 600", s.ID, n)
			}
		}
	})
}

func TestLostAcknowledgements_QoS2Once(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		// given QoS 2 all the way, here and over a link
		pub := publisher(l, "eu", "pub")
		subs := []*Device{subscriber(l, "eu", "near", 2, "t/#"), subscriber(l, "us", "far", 2, "t/#")}
		settle(t, l)
		publish(pub, 500, Message{Topic: "t/a", QoS: 2})
		// when connections break with an acknowledgement on them, again and again, and now and then a node dies as well
		for i := range 60 {
			pub.LoseNext()
			subs[i%2].LoseNext()
			if i%10 == 9 {
				l.crashAt(l.Nodes()[i/10%2], 3, 100*time.Millisecond)
			}
			time.Sleep(60 * time.Millisecond)
		}
		// then every message comes once, in order
		check(t, l)
		for _, s := range subs {
			if n := messages(s, pub); n != 500 {
				t.Errorf("%s saw %d messages, want 500", s.ID, n)
			}
		}
	})
}

func TestWillAcrossRegions(t *testing.T) {
	for name, end := range map[string]func(*Lab, *Device){
		"the connection breaks": func(_ *Lab, d *Device) { d.Offline() },
		"the node is killed": func(l *Lab, d *Device) {
			l.Region("eu").Crash()
			d.Offline()
			_ = l.Region("eu").Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, Options{}, func(t *testing.T, l *Lab) {
				// given a device with a will in eu, and who listens in us
				sub := subscriber(l, "us", "sub", 2, "will/#")
				dev := l.Device(DeviceOptions{Region: "eu", ID: "dev", Will: &packet.Will{Topic: "will/dev", Payload: []byte("gone"), QoS: 2}})
				settle(t, l)
				await(t, l, "the device", dev.Connected)
				// when it goes without a word
				end(l, dev)
				// then us hears of it, once
				await(t, l, "the will", func() bool { return len(sub.Seen()) > 0 })
				time.Sleep(time.Minute)
				if got := sub.Seen(); len(got) != 1 || got[0].Text != "gone" || got[0].Topic != "will/dev" {
					t.Errorf("us saw %+v, want the will once", got)
				}
				check(t, l)
			})
		})
	}
}

// A disk that loses what it said was synced breaks the promise, and the checker
// notices: otherwise the other tests would prove nothing.
func TestDiskForgets_LosesAcknowledged(t *testing.T) {
	lazy := func(o *app.ReplicaOptions) { o.FlushEvery = time.Hour } // only the log would keep it
	for name, tt := range map[string]struct {
		forgets bool
		want    string
	}{
		"an honest disk": {false, ""},
		"a lying disk":   {true, "never got message"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, Options{Replica: lazy}, func(t *testing.T, l *Lab) {
				// given a subscriber that is away
				pub, sub := publisher(l, "eu", "pub"), subscriber(l, "eu", "sub", 1, "t/#")
				settle(t, l)
				sub.Offline()
				// when messages are acknowledged, and then the power goes
				if tt.forgets {
					l.Node("eu-1").Disk().IgnoreSyncs(inLog)
				}
				publish(pub, 10, Message{Topic: "t/a", QoS: 1})
				await(t, l, "the acknowledgements", pub.Idle)
				l.Region("eu").Crash()
				if err := l.Region("eu").Start(); err != nil {
					t.Fatal(err)
				}
				sub.Online()
				// then they are there if the disk was honest, else the checker says which are not
				_ = l.Await("all of them", patience, func() bool { return messages(sub, pub) == 10 })
				err := l.Check()
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("the checker says %v, want %q", err, tt.want)
				}
			})
		})
	}
}

func TestDiskFull_StopsServingSaysWhy(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		eu := l.Node("eu-1")
		pub, sub := publisher(l, "eu", "pub"), subscriber(l, "us", "sub", 2, "t/#")
		settle(t, l)
		// given a disk that gets full
		eu.Disk().FillUp(0)
		publish(pub, 10, Message{Topic: "t/a", QoS: 2})
		// then the node says so and acknowledges nothing
		await(t, l, "the node to stop serving", func() bool { ok, _ := eu.Ready(); return !ok })
		time.Sleep(20 * time.Second)
		ok, why := eu.Ready()
		if ok || !strings.Contains(why, "full") || !strings.Contains(why, "/data") {
			t.Errorf("ready: %v, reason %q; want that the disk at /data is full", ok, why)
		}
		if n := pub.Acked(); n != 0 {
			t.Errorf("%d messages were acknowledged on a full disk", n)
		}
		// when there is room again, it goes on by itself, and nothing is lost or doubled
		eu.Disk().Heal()
		await(t, l, "the node to serve", func() bool { ok, _ := eu.Ready(); return ok })
		check(t, l)
		if n := messages(sub, pub); n != 10 {
			t.Errorf("%d messages seen, want 10", n)
		}
	})
}

func TestFailedSync_AcknowledgesNothingThatIsNotKept(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		eu := l.Node("eu-1")
		pub, sub := publisher(l, "eu", "pub"), subscriber(l, "eu", "sub", 2, "t/#")
		settle(t, l)
		publish(pub, 100, Message{Topic: "t/a", QoS: 2})
		// given one failed sync of the log, which takes the home down
		eu.Disk().FailSyncOnce(errors.New("input/output error"))
		await(t, l, "the node to stop serving", func() bool { ok, _ := eu.Ready(); return !ok })
		// when the power goes as well
		eu.Crash()
		if err := eu.Start(); err != nil {
			t.Fatal(err)
		}
		// then every message comes once
		check(t, l)
		if n := messages(sub, pub); n != 100 {
			t.Errorf("%d messages seen, want 100", n)
		}
	})
}

func TestInterestBitFlip_RepairedByDigest(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		eu := l.Node("eu-1")
		pub, sub := publisher(l, "eu", "pub"), subscriber(l, "us", "sub", 1, "wanted/x")
		settle(t, l)
		// given one bit of what us wants, flipped on eu's disk while the link is cut
		l.Net.Cut("eu", "us")
		if err := eu.Stop(); err != nil {
			t.Fatal(err)
		}
		flip(t, eu.Disk(), "wanted/x", "wanted/y")
		if err := eu.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, l, "eu", func() bool { ok, _ := eu.Ready(); return ok })
		wants := func(topic string) bool { return len(eu.App().State().Match("default", topic, nil)) == 1 }
		if wants("wanted/x") || !wants("wanted/y") {
			t.Fatal("the bit was not flipped")
		}
		// when the link is up again
		l.Net.Heal("eu", "us")
		await(t, l, "the digest to repair it", func() bool { return wants("wanted/x") && !wants("wanted/y") })
		// then it was the digest that noticed, and messages flow
		if s, _ := l.Link("eu", "us"); s.Counters.DigestMismatches != 1 {
			t.Errorf("%d digest mismatches, want 1", s.Counters.DigestMismatches)
		}
		pub.Publish(Message{Topic: "wanted/x", QoS: 1})
		check(t, l)
		if n := messages(sub, pub); n != 1 {
			t.Errorf("%d messages seen, want 1", n)
		}
	})
}

// flip replaces a filter in the keys of a stopped home's store by one that
// differs in a bit.
func flip(t *testing.T, disk *disk, old, other string) {
	t.Helper()
	s, err := store.Open(disk.CrashFS, "/data/home-eu/state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, found := s.NewBatch(), 0
	if err := s.Scan(nil, func(key, value []byte) error {
		if k := string(key); strings.Contains(k, old) {
			found++
			b.Delete([]byte(k))
			b.Set([]byte(strings.Replace(k, old, other, 1)), append([]byte(nil), value...))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found != 1 {
		t.Fatalf("%d keys name %s, want one", found, old)
	}
	at := s.Applied()
	if err := b.Commit(at.Index, at.Term); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
