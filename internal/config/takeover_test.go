package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	defaultTakeover = Takeover{Mode: TakeoverManual, DownAfter: 10 * time.Second, Hold: 9 * time.Second, Lease: 8 * time.Second, Isolation: IsolationServe,
		StandbyAway: StandbyDegrade, WillGrace: 30 * time.Second, Admission: 5000, Hooks: Hooks{Timeout: 30 * time.Second}}
	defaultHandover = Handover{MinDwell: 10 * time.Minute, Unreachable: UnreachableRefuse}
)

const (
	takeoverHead = "region: eu\nidentity: { cert: a, key: b, ca: c }\nlinks: [{ peer: us, dial: [\"udp://us:7444\"] }, { peer: ap, dial: [\"udp://ap:7444\"] }]\n"
	threeVotes   = "regions: [{ name: eu, standby_of: [us] }, { name: us, standby_of: [eu] }, { name: w1, witness: true, dial: [\"udp://w1:7444\"] }]\n"
	twoRegions   = "regions: [{ name: eu }, { name: us, standby_of: [eu] }]\n"
)

func TestTakeover_Validate(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"auto with a witness":           {threeVotes + "takeover: { mode: auto }", ""},
		"manual without one":            {twoRegions, ""},
		"auto without one":              {twoRegions + "takeover: { mode: auto }", "takeover.mode: is auto with 2 voters: when one of two regions is gone the other cannot tell that from a cut between them; add a witness"},
		"auto alone":                    {"takeover: { mode: auto }", "takeover.mode: is auto, and no region is a standby of another here"},
		"auto, serving on":              {threeVotes + "takeover: { mode: auto, isolation: serve }", "takeover.isolation: is serve, and mode is auto"},
		"auto without a voice":          {strings.Replace(threeVotes, "name: eu", "name: eu, vote: false", 1) + "takeover: { mode: auto }", "takeover.mode: is auto, and eu has no vote"},
		"a leaf that votes":             {strings.Replace(twoRegions, "[{ name: eu }", "[{ name: eu }, { name: plant-1, leaf: true, vote: true }", 1), "regions[1].vote: is true, and a leaf has no say"},
		"a leaf":                        {strings.Replace(twoRegions, "[{ name: eu }", "[{ name: eu }, { name: plant-1, leaf: true }", 1), ""},
		"a standby of nobody known":     {"regions: [{ name: eu, standby_of: [moon] }]", `regions[0].standby_of[0]: "moon" is no item of regions`},
		"a standby of itself":           {"regions: [{ name: eu, standby_of: [eu] }]", `regions[0].standby_of[0]: "eu" is the region itself`},
		"this region is not there":      {"regions: [{ name: us, standby_of: [eu] }]\n" + "", `"eu" is no item of regions that has a home`},
		"a voter without a link":        {"regions: [{ name: eu }, { name: mars }]", `regions[1].name: there is no link from eu to "mars"; add the link`},
		"a witness that stands by":      {"regions: [{ name: eu }, { name: w1, witness: true, standby_of: [eu] }]", "regions[1].witness: is set, and a witness has no home"},
		"a witness's address":           {"regions: [{ name: eu }, { name: w1, witness: true, dial: [\"w1:7444\"] }]", `regions[1].dial[0]: "w1:7444" is no address of a witness`},
		"addresses of a region":         {"regions: [{ name: eu }, { name: us, dial: [\"udp://us:7444\"] }]", "regions[1].dial: is set, and the addresses of a region are in links"},
		"a lease as long as a promise":  {"takeover: { lease: 9s }", "takeover.lease: 9s is not a twentieth below hold, 9s"},
		"a promise beyond the silence":  {"takeover: { hold: 11s }", "takeover.hold: 11s is longer than down_after, 10s"},
		"a hasty judgement":             {"takeover: { down_after: 1s, lease: 1s, hold: 1100ms }", "takeover.down_after: 1s is out of range"},
		"a hook of the search path":     {"takeover: { hooks: { promote: dns.sh } }", `takeover.hooks.promote: "dns.sh" is no absolute path`},
		"an unknown mode":               {"takeover: { mode: always }", `takeover.mode: "always" is not accepted; want manual or auto`},
		"policy standby":                {twoRegions + "ack: [{ filter: \"#\", policy: standby }]", ""},
		"handover to where nobody asks": {"handover: { unreachable: guess }", `handover.unreachable: "guess" is not accepted; want refuse or create`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := mustLoad(t, Options{File: writeFile(t, takeoverHead+tc.text+"\n")})
			err := cfg.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestTakeover_WhatFollowsFromTheList(t *testing.T) {
	cfg, _ := mustLoad(t, Options{File: writeFile(t, takeoverHead+`
regions:
  - { name: us, standby_of: [eu] }
  - { name: eu }
  - { name: ap, standby_of: [eu, us], vote: false }
  - { name: plant-1, leaf: true }
  - { name: w1, witness: true }
  - { name: w2, witness: true }
takeover: { mode: auto, down_after: 5s }
`)})
	if got := cfg.Voters(); !slices.Equal(got, []string{"us", "eu", "w1", "w2"}) {
		t.Errorf("voters %v", got)
	}
	if got := cfg.Hosts("eu"); !slices.Equal(got, []string{"eu", "us", "ap"}) {
		t.Errorf("hosts %v", got)
	}
	if cfg.Takeover.Lease != 4*time.Second || cfg.Takeover.Hold != 4500*time.Millisecond || !cfg.Takeover.SelfFences() {
		t.Errorf("%+v", cfg.Takeover)
	}
	if w := cfg.Warnings(); len(w) != 1 || !strings.Contains(w[0], "4 voters tolerate no more losses than 3") {
		t.Errorf("warnings %q", w)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

func TestWitness_Validate(t *testing.T) {
	const head = "region: w1\nidentity: { cert: a, key: b, ca: c }\n"
	const list = "regions: [{ name: eu }, { name: us, standby_of: [eu], dial: [\"udp://us:7444\"] }, { name: w1, witness: true }]\n"
	for name, tc := range map[string]struct{ text, want string }{
		"one":           {head + list, ""},
		"a region":      {"region: eu\nidentity: { cert: a, key: b, ca: c }\n" + list, `regions: has no item "eu" with witness: true`},
		"no identity":   {"region: w1\n" + list, "identity.cert: is missing"},
		"links":         {head + list + "links: [{ peer: eu }]", "links: is set, and a witness has none"},
		"out of reach":  {head + "regions: [{ name: eu }, { name: w1, witness: true }]\nlink: { listen: \"\" }", "link.listen: is empty, and no region is dialled"},
		"a bad address": {head + strings.Replace(list, "udp://us:7444", "us", 1), `regions[1].dial[0]: "us" is no address`},
	} {
		cfg, _ := mustLoad(t, Options{File: writeFile(t, tc.text)})
		err := cfg.ValidateWitness()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}
