package conductor

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill"
	"causeway/internal/drill/canary"
)

// Precondition is something that a drill needs, and whether it is there.
type Precondition struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
	Fix    string `json:"fix"`
}

// Check tries everything that a drill will need, and changes nothing: regions, readiness, the agent's
// dry runs, who canaries are and where they connect.
func Check(ctx context.Context, o Options) ([]Precondition, error) {
	c, err := newConductor(o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var list []Precondition
	note := func(name string, err error, reason, fix string) {
		p := Precondition{Name: name, OK: err == nil, Reason: reason}
		if err != nil {
			p.Reason, p.Fix = describe(err), fix
		}
		list = append(list, p)
	}
	served := false
	for _, name := range c.names() {
		r := c.regions[name]
		var rd admin.Readiness
		err := r.get(ctx, "readiness", admin.Path("readiness"), nil, &rd)
		note("region "+name, err, fmt.Sprintf("readiness %d", rd.Score), "start it, or correct regions."+name+" of the plan")
		if err == nil && c.plan.Guardrails.Readiness {
			var blocked error
			for _, i := range rd.Items {
				if i.State == "fail" {
					blocked = fmt.Errorf("%s: %s", i.Check, i.Reason)
					note("readiness of "+name, blocked, "", i.Fix)
				}
			}
			if blocked == nil {
				note("readiness of "+name, nil, "nothing blocks", "")
			}
		}
		h, err := r.home(ctx, c.plan.Home)
		if err == nil && serves(&h) {
			served = true
			if name != c.plan.Home {
				note("home "+c.plan.Home, fmt.Errorf("it is served by %s", name), "", "causeway ctl region failback "+c.plan.Home)
			} else {
				note("home "+c.plan.Home, nil, fmt.Sprintf("%s serves its %d sessions", name, h.Sessions), "")
			}
		}
	}
	if !served {
		note("home "+c.plan.Home, fmt.Errorf("no region says that it serves it"), "", "causeway ctl region status")
	}
	c.tryAgent(ctx, note)
	for _, client := range c.plan.Canaries.Clients {
		var err error
		if why := canary.Installed(client); why != "" {
			err = fmt.Errorf("%s", why)
		}
		note("canaries "+client, err, "they can run here", "install it, or leave "+client+" out of canaries.clients")
	}
	for region, addresses := range c.plan.Canaries.Addresses {
		for _, a := range addresses {
			at, _, err := drill.SplitAddress(a)
			if err == nil {
				var conn net.Conn
				if conn, err = net.DialTimeout("tcp", at, 3*time.Second); err == nil {
					_ = conn.Close()
				}
			}
			note("address "+a, err, "of "+region+", somebody listens there", "correct canaries.addresses."+region)
		}
	}
	return list, nil
}

// tryAgent has the agent try each action of the plan without effect.
func (c *conductor) tryAgent(ctx context.Context, note func(string, error, string, string)) {
	tried := map[string]bool{}
	for _, s := range c.o.Drill.Steps {
		for _, a := range append([]drill.Action{s.Act}, s.Undo...) {
			if !a.Agent || tried[a.String()] {
				continue
			}
			tried[a.String()] = true
			out, err := c.agent.do(ctx, a, true)
			note("agent: "+a.String(), err, strings.TrimSpace("it would work. "+out), "run it by hand: docs/drills.md says what it reads")
		}
	}
}
