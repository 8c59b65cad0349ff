package admin

import "testing"

// Any node may be asked of a link: the node that has it says how it is. While that does not answer, the link is elsewhere.
func TestLinks_AtTheNodeThatHasThem(t *testing.T) {
	n := newNetwork(t)
	defer n.all.Wait()
	for name, f := range n.fakes {
		f.st.Region, f.st.Homes = "eu", []Home{{ID: "eu", Leader: "eu-2"}}
		if name != "eu-2" {
			f.links[0].Link.State, f.links[0].Link.LagMessages = LinkElsewhere, 0
		}
	}
	there := n.fakes["eu-2"].links[0].Link
	for asked, want := range map[string]Link{"eu-1": there, "eu-2": there} {
		if l := answer[LinkDetail](t, call(t, n.nodes[asked], "GET", "/v1/links/"+there.Peer, "")).Link; l.State != want.State || l.LagMessages != want.LagMessages {
			t.Errorf("%s: %+v", asked, l)
		}
		if p := answer[Page[Link]](t, call(t, n.nodes[asked], "GET", "/v1/links", "")); len(p.Items) != 1 || p.Items[0].State != want.State {
			t.Errorf("%s: %+v", asked, p.Items)
		}
	}
	delete(n.nodes, "eu-2")
	if l := answer[LinkDetail](t, call(t, n.nodes["eu-1"], "GET", "/v1/links/"+there.Peer, "")).Link; l.State != LinkElsewhere {
		t.Errorf("%+v", l)
	}
}
