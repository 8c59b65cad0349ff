package sim

import (
	"strings"
	"testing"
)

func resident(seed uint64) Options {
	o := options(seed)
	o.Regions, o.Resident = 2+int(seed%2), true
	return o
}

// Whatever goes wrong: what must not leave a region does not, not even what waited
// for a peer when the rule came; and nothing else is lost by it.
func TestResidency_Seeds(t *testing.T) {
	for seed := range uint64(60) {
		if err := Run(resident(seed)); err != nil {
			t.Fatal(err)
		}
	}
}

// A rule that is ignored on one of the ways out is noticed by what devices see.
func TestResidency_PlantedFaultsAreFound(t *testing.T) {
	for name, plant := range map[string]Fault{"what waits is sent all the same": SendSpooled, "the home forgets the rules": ForgetRules} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				o := resident(seed)
				o.Plant, o.Outside = plant, true
				if err := Run(o); err != nil {
					what, _, _ := strings.Cut(err.Error(), "\n")
					if !strings.Contains(what, "must not leave") {
						t.Fatalf("another mistake than the planted one: %s", what)
					}
					t.Log(what)
					return
				}
			}
			t.Fatal("200 seeds did not notice")
		})
	}
}
