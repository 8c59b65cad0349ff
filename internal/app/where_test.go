package app

import (
	"testing"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
)

// While a copy of another region's home is opened again nobody knows whose sessions are
// in it: a device that is not known is not given a new session meanwhile.
func TestWhere_WaitsForACopyThatIsOpenedAgain(t *testing.T) {
	a := &App{cfg: &config.Config{Region: "us"}, started: time.Now().Add(-time.Hour)}
	a.home = newHomeService(a, "us")
	eu := newHomeService(a, "eu")
	a.homes = []*homeService{a.home, eu}
	w := &where{a: a}
	dev := home.SessionKey{ClientID: "dev"}
	if id, _ := w.Of(dev); id != "us" {
		t.Error("a copy that could not be opened for an hour keeps devices waiting")
	}
	eu.live.Store(&replica.Replica{})
	eu.close()
	if id, _ := w.Of(dev); id != "" {
		t.Errorf("dev is created in %s", id)
	}
	eu.shut.Store(int64(time.Since(a.started) - 2*openWithin))
	if id, _ := w.Of(dev); id != "us" {
		t.Error("it waits for ever")
	}
}
