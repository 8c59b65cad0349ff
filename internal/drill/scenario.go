package drill

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What an Action does. Those of the agent are marked; the others go through admin APIs.
const (
	DoSwitchover  = "switchover" // the home, from wherever it is served, to To
	DoFailover    = "failover"   // an operator has To serve the home
	DoBringHome   = "bring_home" // whatever happened: the home is served by its own region again
	DoReconcile   = "reconcile"  // what was set aside in Region is looked at, and goes to the host
	DoEvacuate    = "evacuate"   // a node
	DoReturn      = "return"     // its evacuation ends
	DoPauseLink   = "pause_link"
	DoResumeLink  = "resume_link"
	DoKickCohort  = "kick_cohort"
	DoKillNode    = "kill_node"           // agent
	DoStartNode   = "start_node"          // agent
	DoKillRegion  = "kill_region"         // agent
	DoStartRegion = "start_region"        // agent
	DoIsolate     = "isolate_region"      // agent
	DoHealRegion  = "heal_region"         // agent
	DoCutLink     = "cut_link"            // agent
	DoDegradeLink = "degrade_link"        // agent
	DoHealLink    = "heal_link"           // agent
	DoExpire      = "expire_certificate"  // agent
	DoRenew       = "restore_certificate" // agent
)

// AgentDoes are the actions that an agent has to know.
var AgentDoes = []string{DoKillNode, DoStartNode, DoKillRegion, DoStartRegion, DoIsolate, DoHealRegion, DoCutLink, DoDegradeLink, DoHealLink, DoExpire, DoRenew}

// Action is one thing to do. All may be repeated: the second time finds it done.
type Action struct {
	Do     string            `json:"do"`
	Home   string            `json:"home,omitempty"`
	Region string            `json:"region,omitempty"`
	Node   string            `json:"node,omitempty"`
	Peer   string            `json:"peer,omitempty"`
	To     string            `json:"to,omitempty"`
	Params map[string]string `json:"params,omitempty"`
	Agent  bool              `json:"-"`
}

// String is the action for people.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(a.Do, "_", " "))
	for _, x := range [][2]string{{"home", a.Home}, {"region", a.Region}, {"node", a.Node}, {"peer", a.Peer}, {"to", a.To}} {
		if x[1] != "" {
			fmt.Fprintf(&b, " %s=%s", x[0], x[1])
		}
	}
	for _, k := range sortedKeys(a.Params) {
		fmt.Fprintf(&b, " %s=%s", k, a.Params[k])
	}
	return b.String()
}

// What a Condition waits for.
const (
	UntilServed    = "served"     // Region serves Home
	UntilMoved     = "moved"      // another region than Region serves Home
	UntilFollows   = "follows"    // Region has all that the host of Home has
	UntilNodeReady = "node_ready" // Node of Region is ready
	UntilReady     = "region_ready"
	UntilLinkUp    = "link_up"       // Region's link to Peer is up and has nothing left to send
	UntilLinkDown  = "link_down"     // Region sees that it is not
	UntilBack      = "canaries_back" // all canaries that lost their connection are served again
	UntilPassed    = "canaries_passed"
	UntilAlarm     = "alarm"     // Region's readiness check Check is not well
	UntilCalm      = "calm"      // it is well again
	UntilEvacuated = "evacuated" // Node of Region has no devices left
)

// Condition is something to wait for.
type Condition struct {
	Until  string `json:"until"`
	Home   string `json:"home,omitempty"`
	Region string `json:"region,omitempty"`
	Node   string `json:"node,omitempty"`
	Peer   string `json:"peer,omitempty"`
	Check  string `json:"check,omitempty"`
}

// String is the condition for people.
func (c Condition) String() string {
	switch c.Until {
	case UntilServed:
		return fmt.Sprintf("%s serves the home %s", c.Region, c.Home)
	case UntilMoved:
		return fmt.Sprintf("another region than %s serves the home %s", c.Region, c.Home)
	case UntilFollows:
		return fmt.Sprintf("%s has all of the home %s", c.Region, c.Home)
	case UntilNodeReady:
		return fmt.Sprintf("node %s of %s is ready", c.Node, c.Region)
	case UntilReady:
		return fmt.Sprintf("region %s is ready", c.Region)
	case UntilLinkUp:
		return fmt.Sprintf("the link from %s to %s is up and has nothing left", c.Region, c.Peer)
	case UntilLinkDown:
		return fmt.Sprintf("%s sees that the link to %s is down", c.Region, c.Peer)
	case UntilBack:
		return "all canaries are served again"
	case UntilPassed:
		return "nothing of what canaries sent is under way"
	case UntilAlarm:
		return fmt.Sprintf("%s warns of %s", c.Region, c.Check)
	case UntilCalm:
		return fmt.Sprintf("%s finds %s well", c.Region, c.Check)
	}
	return fmt.Sprintf("%s of %s has no devices left", c.Node, c.Region)
}

// Kind says what a step is.
type Kind string

// Kinds of steps.
const (
	KindBegin   Kind = "begin" // of a phase: what is measured counts from its first act
	KindAct     Kind = "act"
	KindAwait   Kind = "await"
	KindWait    Kind = "wait"
	KindCheck   Kind = "check"
	KindApprove Kind = "approve"
	KindEnd     Kind = "end"
)

// Step is one thing that a drill does, after the plan's words were taken apart.
type Step struct {
	N     int // its place, from 0
	Item  int // of the plan's steps
	Phase int // of the phases; -1: none
	Kind  Kind
	Name  string

	Act     Action
	Mark    bool     // the disaster: a phase is measured from here
	Undo    []Action // what an abort does, the last first
	Key     string   // of Undo
	Settles []string // keys of what need not be undone any more
	Lenient bool     // an await that is not met is a finding, not the end
	Until   Condition
	Wait    time.Duration // of a wait; bounds an await, a check, an approval
	Check   []string
	By      []Approver
	Why     string
}

// Phase is one scenario of a drill.
type Phase struct {
	Name     string
	Scenario string
	Planned  bool
	Moves    bool
	Measures bool               // it is a fault if no device was seen to be served again
	Goals    map[string]float64 // effective
}

// Drill is a plan taken apart.
type Drill struct {
	Plan      *Plan
	Steps     []Step
	Phases    []Phase
	NotTested []string
}

// scenario is how a word of a plan becomes steps.
type scenario struct {
	about   string
	needs   []string
	planned bool
	moves   bool
	agent   func(*Item) bool
	expand  func(c *compiler, x *Item)
}

func always(*Item) bool { return true }
func never(*Item) bool  { return false }

var scenarios map[string]scenario

func init() {
	scenarios = map[string]scenario{
		"switchover":         {"the home is handed to another region; nothing may be lost", []string{"to"}, true, true, never, (*compiler).switchover},
		"failback":           {"the home is handed back to its own region", nil, true, true, never, (*compiler).failback},
		"lose-region":        {"every node of a region is killed", []string{"region"}, false, true, always, (*compiler).loseRegion},
		"isolate-region":     {"the links of a region are cut, its devices still reach it", []string{"region"}, false, true, always, (*compiler).isolateRegion},
		"kill-node":          {"a node is killed", []string{"region", "node"}, true, true, always, (*compiler).killNode},
		"evacuate-node":      {"a node's devices go to its siblings at a pace", []string{"region", "node"}, true, true, never, (*compiler).evacuateNode},
		"cut-link":           {"nothing passes between two regions", []string{"region", "peer"}, true, false, func(x *Item) bool { return x.Method != "pause" }, (*compiler).cutLink},
		"degrade-link":       {"the way between two regions is slow, or loses packets", []string{"region", "peer"}, true, false, always, (*compiler).degradeLink},
		"certificate-expiry": {"a node's certificate is about to end, and somebody has to hear of it", []string{"region", "node"}, true, false, always, (*compiler).expire},
		"kick-cohort":        {"the devices of a cohort lose their connections", []string{"region"}, true, true, never, (*compiler).kickCohort},
	}
}

// Scenarios lists what plans may say, with a sentence each.
func Scenarios() (list [][2]string) {
	for _, name := range sortedKeys(scenarios) {
		list = append(list, [2]string{name, scenarios[name].about})
	}
	return list
}

type compiler struct {
	d    *Drill
	item int
}

// Compile takes a plan apart.
func Compile(p *Plan) *Drill {
	c := &compiler{d: &Drill{Plan: p}}
	done := map[string]bool{}
	for i := range p.Steps {
		x := &p.Steps[i]
		c.item = i
		switch {
		case x.Scenario != "":
			s := scenarios[x.Scenario]
			done[x.Scenario] = true
			mine := x.Region == "" || x.Region == p.Home
			ph := Phase{Name: x.Name, Scenario: x.Scenario, Planned: s.planned, Moves: s.moves && (mine || x.Node != ""), Measures: s.moves && mine && x.Node == ""}
			ph.Goals = goalsOf(p, x, s, ph.Moves)
			if ph.Name == "" {
				ph.Name = strings.TrimSpace(x.Scenario + " " + strings.TrimSpace(strings.Join([]string{x.Region, x.Node, x.Peer, x.To}, " ")))
				ph.Name = strings.Join(strings.Fields(ph.Name), " ")
			}
			c.d.Phases = append(c.d.Phases, ph)
			c.add(Step{Kind: KindBegin, Name: ph.Name})
			s.expand(c, x)
			done["failback"] = done["failback"] || c.d.Phases[len(c.d.Phases)-1].Scenario == "failback"
			c.add(Step{Kind: KindEnd, Name: ph.Name})
		case x.Approve:
			c.plain(Step{Kind: KindApprove, Name: named(x, "approval"), By: approvers(p, x), Why: x.Why, Wait: or(x.Within, 30*time.Minute)})
		case len(x.Check) > 0:
			c.plain(Step{Kind: KindCheck, Name: named(x, "check "+x.Check[0]), Check: x.Check, Wait: or(x.Within, time.Minute)})
		default:
			c.plain(Step{Kind: KindWait, Name: named(x, "wait"), Wait: x.Wait})
		}
	}
	for _, name := range sortedKeys(scenarios) {
		if !done[name] && name != "kick-cohort" {
			c.d.NotTested = append(c.d.NotTested, name+": "+scenarios[name].about)
		}
	}
	if others := slices.DeleteFunc(slices.Clone(p.Canaries.Clients), func(c string) bool { return c == "3.1.1" || c == "5" }); len(others) > 0 {
		c.d.NotTested = append(c.d.NotTested, "when "+strings.Join(others, ", ")+" are served again, and the order in which they publish: only what they sent, had acknowledged and got is counted")
	}
	switch p.Scope.Kind {
	case ScopeShadow:
		c.d.NotTested = append(c.d.NotTested, "every act was a dry run: nothing was killed, cut or moved")
	case ScopeCohort:
		c.d.NotTested = append(c.d.NotTested, "devices beyond those whose client id begins with "+p.Scope.Prefix)
	}
	return c.d
}

// goalsOf are the goals in force. Where no device is to lose its connection the plan's times do not count.
func goalsOf(p *Plan, x *Item, s scenario, moves bool) map[string]float64 {
	goals := map[string]float64{}
	for _, m := range Metrics {
		g := m.Unplanned
		if s.planned {
			g = m.Planned
		}
		if v, ok := p.Goals[m.Name]; ok && (moves || !m.Seconds || m.Name == "gap") {
			g = v
		}
		if v, ok := x.Goals[m.Name]; ok {
			g = v
		}
		if g >= 0 {
			goals[m.Name] = g
		}
	}
	return goals
}

func approvers(p *Plan, x *Item) (list []Approver) {
	for _, name := range x.By {
		list = append(list, Approver{name, x.Role})
	}
	if len(list) == 0 {
		return p.Approvers
	}
	return list
}

func named(x *Item, otherwise string) string {
	if x.Name != "" {
		return x.Name
	}
	return otherwise
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (c *compiler) add(s Step) {
	s.N, s.Item, s.Phase = len(c.d.Steps), c.item, len(c.d.Phases)-1
	if s.Name == "" && s.Kind == KindAct {
		s.Name = s.Act.String()
	}
	if s.Name == "" && s.Kind == KindAwait {
		s.Name = s.Until.String()
	}
	s.Act.Agent = isAgents(s.Act.Do)
	for i := range s.Undo {
		s.Undo[i].Agent = isAgents(s.Undo[i].Do)
	}
	c.d.Steps = append(c.d.Steps, s)
}

// plain is a step outside of a phase.
func (c *compiler) plain(s Step) {
	c.add(s)
	c.d.Steps[len(c.d.Steps)-1].Phase = -1
}

func isAgents(do string) bool {
	for _, a := range AgentDoes {
		if a == do {
			return true
		}
	}
	return false
}

func (c *compiler) act(a Action, mark bool, key string, undo ...Action) {
	c.add(Step{Kind: KindAct, Act: a, Mark: mark, Key: key, Undo: undo, Wait: 3 * time.Minute})
}

// settle is the act that ends what another began.
func (c *compiler) settle(a Action, keys ...string) {
	c.add(Step{Kind: KindAct, Act: a, Settles: keys, Wait: 3 * time.Minute})
}

func (c *compiler) await(u Condition, within time.Duration) {
	c.add(Step{Kind: KindAwait, Until: u, Wait: within})
}

func (c *compiler) hold(d time.Duration) {
	if d > 0 {
		c.add(Step{Kind: KindWait, Name: "hold", Wait: d})
	}
}

func (c *compiler) home() string { return c.d.Plan.Home }

const keyHome = "home"

func (c *compiler) bringHome() Action { return Action{Do: DoBringHome, Home: c.home()} }

func (c *compiler) switchover(x *Item) {
	c.await(Condition{Until: UntilFollows, Home: c.home(), Region: x.To}, 2*time.Minute)
	c.act(Action{Do: DoSwitchover, Home: c.home(), To: x.To}, true, keyHome, c.bringHome())
	c.await(Condition{Until: UntilServed, Home: c.home(), Region: x.To}, time.Minute)
	c.await(Condition{Until: UntilBack}, or(x.Within, 2*time.Minute))
	c.hold(x.Hold)
}

func (c *compiler) failback(x *Item) {
	c.await(Condition{Until: UntilFollows, Home: c.home(), Region: c.home()}, 2*time.Minute)
	c.add(Step{Kind: KindAct, Act: Action{Do: DoSwitchover, Home: c.home(), To: c.home()}, Mark: true, Key: keyHome, Undo: []Action{c.bringHome()}, Wait: 3 * time.Minute})
	c.await(Condition{Until: UntilServed, Home: c.home(), Region: c.home()}, time.Minute)
	c.add(Step{Kind: KindAwait, Until: Condition{Until: UntilBack}, Wait: or(x.Within, 2*time.Minute), Settles: []string{keyHome}})
	c.hold(x.Hold)
}

// lost is what a region that does not serve its home any more has in common, however it came to it.
func (c *compiler) lost(x *Item, do, undo string) {
	key := "region " + x.Region
	mine := x.Region == c.home()
	act := Action{Do: do, Region: x.Region, Params: x.Params}
	if mine {
		c.act(act, true, key, c.bringHome(), Action{Do: undo, Region: x.Region})
	} else {
		c.act(act, true, key, Action{Do: undo, Region: x.Region})
	}
	if mine {
		if x.Failover == "operator" {
			c.act(Action{Do: DoFailover, Home: c.home(), To: x.To}, false, "")
		}
		c.await(Condition{Until: UntilMoved, Home: c.home(), Region: x.Region}, or(x.Within, 2*time.Minute))
		c.await(Condition{Until: UntilBack}, or(x.Within, 2*time.Minute))
	}
	c.hold(x.Hold)
	if !mine {
		c.settle(Action{Do: undo, Region: x.Region}, key)
		c.await(Condition{Until: UntilReady, Region: x.Region}, 3*time.Minute)
		c.await(Condition{Until: UntilPassed}, 2*time.Minute)
		return
	}
	// From here on only the home has to be brought back.
	c.add(Step{Kind: KindAct, Act: Action{Do: undo, Region: x.Region}, Settles: []string{key}, Key: keyHome, Undo: []Action{c.bringHome()}, Wait: 3 * time.Minute})
	c.await(Condition{Until: UntilFollows, Home: c.home(), Region: x.Region}, 3*time.Minute)
	c.act(Action{Do: DoReconcile, Home: c.home(), Region: x.Region, Params: map[string]string{"replay": x.Replay}}, false, "")
	c.await(Condition{Until: UntilPassed}, 2*time.Minute)
}

func (c *compiler) thenFailback(x *Item) {
	if !x.Failback || x.Region != c.home() {
		return
	}
	p := &c.d.Phases[len(c.d.Phases)-1]
	c.add(Step{Kind: KindEnd, Name: p.Name})
	s := scenarios["failback"]
	c.d.Phases = append(c.d.Phases, Phase{Name: "failback after " + p.Name, Scenario: "failback", Planned: true, Moves: true, Measures: true, Goals: goalsOf(c.d.Plan, &Item{}, s, true)})
	c.add(Step{Kind: KindBegin, Name: c.d.Phases[len(c.d.Phases)-1].Name})
	c.failback(&Item{Within: x.Within})
}

func (c *compiler) loseRegion(x *Item) {
	c.lost(x, DoKillRegion, DoStartRegion)
	c.thenFailback(x)
}

func (c *compiler) isolateRegion(x *Item) {
	c.lost(x, DoIsolate, DoHealRegion)
	c.thenFailback(x)
}

func (c *compiler) killNode(x *Item) {
	key := "node " + x.Node
	c.act(Action{Do: DoKillNode, Region: x.Region, Node: x.Node, Params: x.Params}, true, key, Action{Do: DoStartNode, Region: x.Region, Node: x.Node})
	c.await(Condition{Until: UntilBack}, or(x.Within, time.Minute))
	c.hold(x.Hold)
	c.settle(Action{Do: DoStartNode, Region: x.Region, Node: x.Node}, key)
	c.await(Condition{Until: UntilNodeReady, Region: x.Region, Node: x.Node}, 3*time.Minute)
}

func (c *compiler) evacuateNode(x *Item) {
	key := "node " + x.Node
	c.act(Action{Do: DoEvacuate, Region: x.Region, Node: x.Node, Params: x.Params}, true, key, Action{Do: DoReturn, Region: x.Region, Node: x.Node})
	c.await(Condition{Until: UntilEvacuated, Region: x.Region, Node: x.Node}, or(x.Within, 10*time.Minute))
	c.await(Condition{Until: UntilBack}, time.Minute)
	c.hold(x.Hold)
	c.settle(Action{Do: DoReturn, Region: x.Region, Node: x.Node}, key)
	c.await(Condition{Until: UntilNodeReady, Region: x.Region, Node: x.Node}, 3*time.Minute)
}

func (c *compiler) cutLink(x *Item) {
	cut, heal := DoCutLink, DoHealLink
	if x.Method == "pause" {
		cut, heal = DoPauseLink, DoResumeLink
	}
	c.link(x, Action{Do: cut, Region: x.Region, Peer: x.Peer, Params: x.Params}, heal, true)
}

func (c *compiler) degradeLink(x *Item) {
	params := map[string]string{"delay": x.Delay.String(), "jitter": x.Jitter.String(), "loss": fmt.Sprint(x.Loss), "rate": x.Rate}
	c.link(x, Action{Do: DoDegradeLink, Region: x.Region, Peer: x.Peer, Params: params}, DoHealLink, false)
}

func (c *compiler) link(x *Item, a Action, heal string, down bool) {
	key := "link " + x.Region + " " + x.Peer
	h := Action{Do: heal, Region: x.Region, Peer: x.Peer}
	c.act(a, true, key, h)
	if down {
		c.await(Condition{Until: UntilLinkDown, Region: x.Region, Peer: x.Peer}, or(x.Within, time.Minute))
	}
	c.hold(or(x.Hold, 10*time.Second))
	c.settle(h, key)
	c.await(Condition{Until: UntilLinkUp, Region: x.Region, Peer: x.Peer}, or(x.Within, 2*time.Minute))
	c.await(Condition{Until: UntilPassed}, or(x.Within, 2*time.Minute))
}

func (c *compiler) expire(x *Item) {
	key := "certificate " + x.Node
	a := Action{Do: DoExpire, Region: x.Region, Node: x.Node, Params: x.Params}
	back := Action{Do: DoRenew, Region: x.Region, Node: x.Node}
	c.act(a, true, key, back)
	c.await(Condition{Until: UntilAlarm, Region: x.Region, Check: "certificates"}, or(x.Within, 3*time.Minute))
	c.hold(x.Hold)
	c.settle(back, key)
	c.await(Condition{Until: UntilCalm, Region: x.Region, Check: "certificates"}, or(x.Within, 3*time.Minute))
}

func (c *compiler) kickCohort(x *Item) {
	c.act(Action{Do: DoKickCohort, Region: x.Region, Params: map[string]string{"prefix": c.d.Plan.Scope.Prefix}}, true, "")
	c.await(Condition{Until: UntilBack}, or(x.Within, time.Minute))
}
