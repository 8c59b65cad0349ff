package admin

import (
	"net/http"
	"slices"
	"testing"
)

// Any node may be asked: the one that decides for the region answers, with the name of
// who asked at the first.
func TestHomes_AtTheNodeThatDecides(t *testing.T) {
	n := newNetwork(t)
	defer n.all.Wait()
	for _, name := range []string{"eu-1", "eu-3"} {
		n.fakes[name].elsewhere = "eu-2"
	}
	n.fakes["eu-2"].config = []ConfigValue{{"region", "eu", "x"}}
	s := n.nodes["eu-1"]
	if p := answer[Page[RegionHome]](t, call(t, s, "GET", "/v1/homes", "")); len(p.Items) != 2 {
		t.Errorf("%+v", p)
	}
	if h := answer[RegionHome](t, call(t, s, "GET", "/v1/homes/eu", "")); h.Home != "eu" || h.Role != "host" {
		t.Errorf("%+v", h)
	}
	c := answer[RegionChange](t, call(t, s, "POST", "/v1/homes/eu/switchover?to=us", `{"confirm":"eu"}`))
	if want := []string{"begin switchover eu to=us force=false within=0s by=socket"}; c.DryRun || !slices.Equal(n.fakes["eu-2"].done(), want) {
		t.Errorf("%+v, did %v", c, n.fakes["eu-2"].done())
	}
	n.fakes["eu-2"].elsewhere = "eu-1" // it changed meanwhile: nobody goes round in circles
	if w := call(t, s, "POST", "/v1/homes/eu/fence", `{"confirm":"eu"}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
