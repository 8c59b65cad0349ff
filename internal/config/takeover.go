package config

import (
	"slices"
	"time"
)

// Region says what one region, or a witness, has to do with the failure of others. The same list
// belongs into the files of all regions and witnesses.
type Region struct {
	// Name is the region, as in its certificate.
	Name string `mapstructure:"name"`
	// Vote says that the region has a voice in who hosts a home. Default true, false for a leaf; a
	// witness always has one.
	Vote bool `mapstructure:"vote"`
	// StandbyOf are the regions whose homes this one keeps a copy of and takes over. Where several are
	// standbys of one home they take it over in the order of this list.
	StandbyOf []string `mapstructure:"standby_of"`
	// Witness says that it is no region but a voter alone: `causeway witness`.
	Witness bool `mapstructure:"witness"`
	// Leaf says that the region has no say and no standby.
	Leaf bool `mapstructure:"leaf"`
	// Dial lists the addresses of a witness, as in links[].dial; those of a region are in links. Empty:
	// the witness dials.
	Dial []string `mapstructure:"dial"`
}

// TakeoverMode says who decides that a region takes a home over.
type TakeoverMode string

// Who decides.
const (
	TakeoverManual TakeoverMode = "manual" // the operator
	TakeoverAuto   TakeoverMode = "auto"   // a majority of the voters
)

// Isolation is what a host does that does not reach a majority of the voters.
type Isolation string

// What an isolated host does.
const (
	IsolationServe     Isolation = "serve"
	IsolationSelfFence Isolation = "self-fence"
)

// StandbyAway is what becomes of what waits for a standby that is away.
type StandbyAway string

// What becomes of it.
const (
	StandbyDegrade StandbyAway = "degrade" // it waits for the region's own disks alone, with an alarm
	StandbyWait    StandbyAway = "wait"    // it waits
)

// Takeover says what happens when the host of a home is gone. Durations that are left out follow
// DownAfter.
type Takeover struct {
	// Mode is who decides. Default TakeoverManual.
	Mode TakeoverMode `mapstructure:"mode"`
	// DownAfter is for how long nothing is heard of a host before it counts as gone. Default 10s.
	DownAfter time.Duration `mapstructure:"down_after"`
	// Hold is for how long a voter keeps a promise. Default nine tenths of DownAfter.
	Hold time.Duration `mapstructure:"hold"`
	// Lease is for how long a host relies on a promise: what clocks may differ shorter than Hold.
	// Default eight tenths of DownAfter.
	Lease time.Duration `mapstructure:"lease"`
	// Isolation is what this region's home does without a majority. Default IsolationServe; with
	// TakeoverAuto it is IsolationSelfFence.
	Isolation Isolation `mapstructure:"isolation"`
	// StandbyAway is what becomes of acknowledgements that wait for a standby. Default StandbyDegrade.
	StandbyAway StandbyAway `mapstructure:"standby_away"`
	// WillGrace is for how long wills wait after a promotion for devices to come. Default 30s.
	WillGrace time.Duration `mapstructure:"will_grace"`
	// Admission is how many CONNECTs a node lets in a second, over all listeners, before TLS and by turns between
	// namespaces. Default 5000/s; 0: no bound.
	Admission Rate `mapstructure:"admission"`
	// Sessions is how many sessions this region can serve in all, its own among them; a promotion
	// beyond that is refused. Default 0: no bound.
	Sessions int `mapstructure:"sessions"`
	// Hooks are programs that tell load balancers and DNS.
	Hooks Hooks `mapstructure:"hooks"`
}

// Hooks are programs that are run with a JSON object on their standard input, without a shell.
type Hooks struct {
	// Promote runs when this region begins to serve a home that another one served.
	Promote string `mapstructure:"promote"`
	// Fence runs when this region ceases to serve a home.
	Fence string `mapstructure:"fence"`
	// Timeout ends a run. Default 30s.
	Timeout time.Duration `mapstructure:"timeout"`
}

// Unreachable is what happens to a device whose session lives in a region that does not answer.
type Unreachable string

// What happens to it.
const (
	UnreachableRefuse Unreachable = "refuse" // it is parked, and closed at last
	UnreachableCreate Unreachable = "create" // it gets a new session; the old one is reported
)

// Handover says what happens to a device that comes to another region than its session.
type Handover struct {
	// Enabled moves sessions after their devices. Default false.
	Enabled bool `mapstructure:"enabled"`
	// MinDwell is for how long a session stays where it was moved to. Default 10m.
	MinDwell time.Duration `mapstructure:"min_dwell"`
	// Unreachable is what happens while the session's region does not answer. Default
	// UnreachableRefuse.
	Unreachable Unreachable `mapstructure:"unreachable"`
}

// Voters are the regions and witnesses that have a voice.
func (c *Config) Voters() (names []string) {
	for _, r := range c.Regions {
		if r.Vote || r.Witness {
			names = append(names, r.Name)
		}
	}
	return names
}

// Standbys are the regions that take a region's home over, in order.
func (c *Config) Standbys(region string) (names []string) {
	for _, r := range c.Regions {
		if slices.Contains(r.StandbyOf, region) {
			names = append(names, r.Name)
		}
	}
	return names
}

// StandbyOf are the regions whose homes this one keeps a copy of.
func (c *Config) StandbyOf() []string {
	if r := c.region(c.Region); r != nil {
		return r.StandbyOf
	}
	return nil
}

// Hosts are the regions that may host a region's home: that one, and its standbys.
func (c *Config) Hosts(region string) []string {
	return append([]string{region}, c.Standbys(region)...)
}

// Witnesses are the items that are no regions.
func (c *Config) Witnesses() (list []Region) {
	for _, r := range c.Regions {
		if r.Witness {
			list = append(list, r)
		}
	}
	return list
}

// HasVote says whether this region, or witness, has a voice.
func (c *Config) HasVote() bool { return slices.Contains(c.Voters(), c.Region) }

// SelfFences says that an isolated host of this region's home stops serving.
func (t Takeover) SelfFences() bool {
	return t.Mode == TakeoverAuto || t.Isolation == IsolationSelfFence
}

func (c *Config) region(name string) *Region {
	for i := range c.Regions {
		if c.Regions[i].Name == name {
			return &c.Regions[i]
		}
	}
	return nil
}
