package drill

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Plan is what a plan file says.
type Plan struct {
	Name       string
	About      string
	Home       string // that is drilled
	Scope      Scope
	Regions    []RegionRef
	Agent      AgentPlan
	Canaries   CanaryPlan
	Goals      map[string]float64 // by the names of Metrics, seconds or counts
	Guardrails Guardrails
	Approvers  []Approver // who may approve, beside who is named in a step
	Steps      []Item
	Limit      time.Duration // of the whole drill

	text []byte
}

// Hash identifies the file.
func (p *Plan) Hash() string {
	sum := sha256.Sum256(p.text)
	return hex.EncodeToString(sum[:])
}

// Text is the file.
func (p *Plan) Text() []byte { return p.text }

// Region finds a region of the plan.
func (p *Plan) Region(name string) *RegionRef {
	for i := range p.Regions {
		if p.Regions[i].Name == name {
			return &p.Regions[i]
		}
	}
	return nil
}

// Scopes of a drill.
const (
	ScopeRegion = "region" // everything is done
	ScopeShadow = "shadow" // every act is a dry run; canaries are the only devices
	ScopeCohort = "cohort" // only devices whose client id begins so are touched
)

// Scope is whom a drill is for.
type Scope struct {
	Kind   string
	Prefix string // of the client ids of a cohort
}

// RegionRef says where a region's admin API is: a context of ctl's, a socket, or a server.
type RegionRef struct {
	Name      string   `json:"name"`
	Context   string   `json:"context"`
	Server    string   `json:"server"`
	TokenFile string   `json:"token_file"`
	CA        string   `json:"ca"`
	Socket    string   `json:"socket"`
	More      []string `json:"more"` // sockets or servers of other nodes, asked when the first does not answer
}

// AgentPlan is the program that does what no API can.
type AgentPlan struct {
	Exec    []string
	Timeout time.Duration
}

// CanaryPlan says which canaries run.
type CanaryPlan struct {
	Pairs     int
	Across    int // pairs whose ends are at home in different regions
	Rate      float64
	Payload   int
	Clients   []string            // "3.1.1", "5", mosquitto, mqttjs, paho
	Addresses map[string][]string // by region: mqtt://host:port, mqtts://…
	ClientID  string              // its beginning
	Topic     string              // its beginning
	Username  string
	Password  string // a file
	Cert, Key string
	CA        string
	Redial    time.Duration
	Patience  time.Duration // for what is under way at the end
	Order     []string      // regions in the order in which a device tries them
}

// Guardrails end a drill and have it undone. Below 0: none.
type Guardrails struct {
	Lost         float64       // acknowledged messages that are missing while publisher and subscriber are connected
	Gap          time.Duration // the longest silence of a canary
	Away         float64       // part of the canaries that are not connected
	AwayFor      time.Duration // for how long
	Disconnected float64       // part of all devices of the regions that are gone, beside the baseline
	StandbyLag   time.Duration // before a step that moves the home
	Readiness    bool          // no blocker before the first step
}

// Approver is somebody who may approve, as the name of a token and its least role.
type Approver struct{ Name, Role string }

// Item is one entry of steps.
type Item struct {
	Line     int
	Name     string
	Scenario string // or
	Wait     time.Duration
	Check    []string // program and arguments
	Approve  bool
	By       []string // who may approve; empty: any of approvers
	Role     string
	Why      string

	Region, Node, Peer, To string
	Within                 time.Duration // for devices to be served, or for the check, or for the approval
	Hold                   time.Duration // between the disaster and its end
	Method                 string        // of cut-link: agent or pause
	Failover               string        // of lose-region, isolate-region: auto or operator
	Failback               bool
	Replay                 string // of the reconciliation: rules, deliver, report
	Delay, Jitter          time.Duration
	Loss                   float64
	Rate                   string
	Goals                  map[string]float64
	Params                 map[string]string // for the agent, or of an evacuation: conn_evict_rate and so on
}
