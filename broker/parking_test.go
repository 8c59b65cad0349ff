package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
)

// A fleet waits for a home that is about to be served. However many they are, the home is asked as often as for one, and when it
// serves them all of them are answered, at the pace of admission.
func TestConnect_AParkedFleetIsLookedAfterByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const fleet = 300
		l, us, w := newTwo(t)
		l.s.SetAdmission(1000)
		w.set("", "us")
		us.unready.Store(true)
		devices := make([]*device, fleet)
		for i := range devices {
			devices[i] = l.pipe(packet.V311)
			devices[i].send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: fmt.Sprint("dev", i), ReceiveMaximum: 9}))
		}
		time.Sleep(3 * time.Second)
		before := us.asked.Load()
		time.Sleep(4 * time.Second)
		if n := us.asked.Load() - before; n > 4*2*int64(time.Second/lookReady) {
			t.Errorf("%d devices have the home asked %d times in 4 s whether it serves", fleet, n)
		}
		us.unready.Store(false)
		began := time.Now()
		for _, d := range devices {
			if f, err := d.next(time.Minute); err != nil || f.h.Type != packet.CONNACK {
				t.Fatalf("got %v, %v", f.h.Type, err)
			}
		}
		if took := time.Since(began); took < 250*time.Millisecond {
			t.Errorf("%d are in after %v, at 1000 a second", fleet, took)
		}
		l.stop()
	})
}
