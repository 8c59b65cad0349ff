package simlab

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long, on the virtual clock, tests wait for what must come.
const patience = 2 * time.Minute

// in runs f with a lab whose links are up, and checks at the end that it stops.
func in(t *testing.T, o Options, f func(t *testing.T, l *Lab)) {
	t.Helper()
	inFrom(t, o, func(*Lab) {}, f)
}

// inFrom is in, and first is called before anything has happened.
func inFrom(t *testing.T, o Options, first func(l *Lab), f func(t *testing.T, l *Lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		first(l)
		defer func() {
			if t.Failed() {
				t.Logf("%v\nthe last lines of the regions' logs:\n%s", l.homes(), l.log.last(80))
			}
			if err := l.Stop(); err != nil {
				t.Error(err)
			}
		}()
		for _, a := range l.Regions() {
			await(t, l, a.Name+" to be ready", func() bool { ok, _ := a.Ready(); return ok })
			for _, b := range l.Regions() {
				await(t, l, "the link", func() bool { return a == b || l.Linked(a.Name, b.Name) })
			}
		}
		f(t, l)
	})
}

func await(t *testing.T, l *Lab, what string, ok func() bool) {
	t.Helper()
	if err := l.Await(what, patience, ok); err != nil {
		t.Fatal(err)
	}
}

func settle(t *testing.T, l *Lab) {
	t.Helper()
	if err := l.Settle(patience); err != nil {
		t.Fatal(err)
	}
}

// check waits until everything is acknowledged and the checker is content, and a
// little longer: a second copy may come late.
func check(t *testing.T, l *Lab) {
	t.Helper()
	await(t, l, "every acknowledgement", l.Idle)
	_ = l.Await("what was acknowledged", patience, func() bool { return l.Check() == nil })
	time.Sleep(5 * time.Second)
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
}

// publish sends n messages.
func publish(d *Device, n int, m Message) {
	for range n {
		d.Publish(m)
	}
}

func subscriber(l *Lab, region, id string, qos byte, filters ...string) *Device {
	d := l.Device(DeviceOptions{Region: region, ID: id})
	d.Subscribe(qos, filters...)
	return d
}

func publisher(l *Lab, region, id string) *Device {
	return l.Device(DeviceOptions{Region: region, ID: id})
}

// messages counts what a device saw of another.
func messages(d, from *Device) (n int) {
	for _, s := range d.Seen() {
		if s.From == from.ID {
			n++
		}
	}
	return n
}
