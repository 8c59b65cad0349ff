package link

import (
	"bytes"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"causeway/internal/home"
)

// Random faults while a home is shipped to two standbys, from a seed: cuts, loss, packets
// twice, a standby that rests, refuses or is set aside, a log that is cut short. In the end
// the standby that counts has the home's records, all and the same; what was told of a
// standby was always true.
func TestShip_Seeds(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if err := shipFaults(t, seed, nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func shipFaults(t *testing.T, seed uint64, plant func(x *shipped)) error {
	rng := mrand.New(mrand.NewPCG(seed, 5))
	x := ship(t, newWorld(t, time.Duration(1+rng.IntN(50))*time.Millisecond), plainly, "us", "ap")
	defer x.close()
	if plant != nil {
		plant(x)
	}
	names := []string{"us", "ap"}
	sent := 0
	for range 20 {
		for range rng.IntN(5) {
			k := rng.IntN(40)
			x.eu.home.publishNoise(t, "events/a", sent, sent+k)
			sent += k
		}
		name := names[rng.IntN(2)]
		s := x.at[name]
		switch rng.IntN(9) {
		case 0:
			x.w.wan.setCut(ip("eu"), ip(name), true)
		case 1, 2:
			x.w.wan.setCut(ip("eu"), ip(name), false)
		case 3:
			x.w.wan.set(rng.Float64()*0.1, rng.Float64()*0.1)
		case 4:
			s.rest(rng.IntN(2) == 0)
		case 5:
			s.refuse(errors.New("not now"))
		case 6:
			s.refuse(nil)
		case 7:
			x.src.oldest.Store(x.eu.home.st.Position().Records)
		case 8:
			s.mu.Lock()
			s.retired = true
			s.mu.Unlock()
		}
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		if err := x.toldTheTruth(); err != nil {
			return err
		}
	}
	x.w.wan.set(0, 0)
	for _, name := range names {
		x.w.wan.setCut(ip("eu"), ip(name), false)
		x.at[name].rest(false)
		x.at[name].refuse(nil)
	}
	began := time.Now()
	for !x.allOnFirst() {
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("the first standby does not follow: %+v, told %+v", x.status("us"), x.last())
		}
		time.Sleep(10 * time.Millisecond)
	}
	us := x.at["us"]
	us.mu.Lock()
	defer us.mu.Unlock()
	if !slices.EqualFunc(us.log, x.eu.home.log, bytes.Equal) {
		return fmt.Errorf("the standby's %d records are not the host's %d", len(us.log), len(x.eu.home.log))
	}
	t.Logf("%d records follow %v after the faults; %d copies, %d resumed", len(us.log), time.Since(began), us.sinks, us.resumed)
	return nil
}

// allOnFirst says whether the first standby counts and has all.
func (x *shipped) allOnFirst() bool {
	all := x.eu.home.st.Position().Records
	at, err := x.at["us"].Position()
	s := x.last()
	return err == nil && at.Records >= all && s.Region == "us" && s.Healthy && s.Records >= all
}

func (s *standby) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = err
}

// toldTheTruth holds what was told last against what the standby has.
func (x *shipped) toldTheTruth() error {
	s := x.last()
	if s.Region == "" {
		return nil
	}
	at := x.at[s.Region]
	at.mu.Lock()
	defer at.mu.Unlock()
	if has := at.st.Position().Records; !at.retired && has < s.Records {
		return fmt.Errorf("told %+v, the standby has %d records", s, has)
	}
	return nil
}

// The seeds notice mistakes that are made on purpose.
func TestShip_SeedsNoticeMistakes(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(*shipped)
	}{
		{"acknowledged before it is applied", func(x *shipped) {
			for _, s := range x.at {
				s.mu.Lock()
				s.boast = 3
				s.mu.Unlock()
			}
		}},
		{"a record is shipped instead of another one, and nobody compares", func(x *shipped) {
			for _, s := range x.at {
				s.mu.Lock()
				s.blind = true
				s.mu.Unlock()
			}
			x.src.mu.Lock()
			defer x.src.mu.Unlock()
			x.src.fault = func(list []home.Shipment) []home.Shipment {
				if n := len(list); n > 2 {
					list[n-1].Data = list[n-2].Data
				}
				return list
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				var err error
				bubble(t, func(t *testing.T) { err = shipFaults(t, seed, c.plant) })
				if err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}
