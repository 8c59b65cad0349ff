package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// A region dies. The voters stop hearing it, the standby is promised an epoch by a
// majority, and serves within seven seconds.
func TestRegionLost_StandbyServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.down("eu")
		if took := w.untilServes("us", time.Minute); took > 7*time.Second {
			t.Errorf("it took %s", took)
		}
		w.up("eu", false)
		w.wait("eu follows", time.Minute, func() bool { return w.sites["eu"].copy.State().Epoch.Host == "us" })
		w.pass(10 * time.Second)
		w.untilServes("us", time.Second)
		w.end()
	})
}

// The link between the host and its standby is cut, and the witness sees both: nobody
// moves, since the witness hears the host.
func TestLinkCut_WitnessHearsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us")
		w.pass(2 * time.Minute)
		w.untilServes("eu", time.Second)
		w.end()
	})
}

// A region is cut off and lives: it stops serving before the other begins, which the
// rig looks at all the time, and follows when it is back.
func TestRegionIsolated_StopsBeforeTheOtherBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us", "w1")
		w.untilServes("us", time.Minute)
		if s := w.agent("eu").Homes()[0]; s.Standing != "isolated" && s.Standing != "starting" {
			t.Errorf("eu is %q", s.Standing)
		}
		w.heal()
		w.wait("eu follows", time.Minute, func() bool { return w.sites["eu"].copy.State().Epoch.Host == "us" })
		w.end()
	})
}

// Questions of the host arrive, answers do not come back: it is heard by all and may
// rely on none. It stops, and the others may take over only when it is silent to them.
func TestOneSidedCut_HostHearsNoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.cutOff("us", false, "eu")
		w.cutOff("w1", false, "eu")
		w.untilServes("us", time.Minute)
		w.heal()
		w.pass(20 * time.Second)
		w.untilServes("us", time.Second)
		w.end()
	})
}

// What nodes rely on for a while is not said when the lease ends within that.
func TestLeasedFor_EndsBeforeTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us", "w1")
		a, early := w.agent("eu"), time.Duration(0)
		w.wait("the lease ends", time.Minute, func() bool {
			if a.Leased("eu") && !a.LeasedFor("eu", 300*time.Millisecond) {
				early += 10 * time.Millisecond
			}
			return !a.Leased("eu")
		})
		if early < 200*time.Millisecond {
			t.Errorf("it ends %s before the lease", early)
		}
		w.end()
	})
}

// Without the witness and the other region the host has no majority; one of them is
// enough. Losing the witness alone changes nothing.
func TestWitnessLost_HostServesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.down("w1")
		w.pass(time.Minute)
		w.untilServes("eu", time.Second)
		w.down("us")
		w.wait("eu stops", time.Minute, func() bool { return len(w.serving()) == 0 })
		w.up("w1", false)
		w.untilServes("eu", time.Minute)
		w.end()
	})
}

// The whole region restarts while everything else is cut off from it: it must not
// serve until it heard that nobody took over, or an operator says so.
func TestColdStart_WaitsForAMajorityOrTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, servePolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us", "w1")
		w.pass(time.Minute)
		w.untilServes("eu", time.Second) // it was confirmed once, and serves on alone
		w.down("eu")
		w.up("eu", false)
		w.pass(time.Minute)
		if list := w.serving(); len(list) > 0 {
			t.Fatalf("%v serve after a cold start", list)
		}
		a := w.agent("eu")
		var refused *Refused
		if _, err := a.Begin(t.Context(), Resume, Order{Home: "eu"}); !errors.As(err, &refused) || refused.Reasons[0].Condition != "no_majority" {
			t.Fatalf("resume: %v", err)
		}
		p, err := a.Begin(t.Context(), Resume, Order{Home: "eu", Force: true})
		if err != nil || p.Risk == "" {
			t.Fatalf("resume: %+v %v", p, err)
		}
		w.untilServes("eu", 5*time.Second)
		w.end()
	})
}

// Another node of the region becomes its leader while the region is cut off: it was
// serving all the time, and goes on.
func TestLeaderChanges_InAnIsolatedRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, servePolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us", "w1")
		w.pass(10 * time.Second)
		w.down("eu")
		w.up("eu", true)
		w.untilServes("eu", 2*time.Second)
		w.end()
	})
}

// A fenced region's leader changes, and nobody can say again that it is fenced: the
// region itself knows.
func TestFence_OutlivesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, servePolicy, "eu", "us", "w1")
		w.agent("eu").Heard("eu", home.Epoch{Number: 2, Host: "us"})
		if w.agent("eu").Leased("eu") {
			t.Error("it serves although a higher epoch is in force")
		}
		w.pass(time.Second)
		w.cutOff("eu", true, "us", "w1")
		w.down("eu")
		w.sites["eu"].copy.retired = false
		w.up("eu", true)
		w.pass(20 * time.Second)
		if list := w.serving(); slices.Contains(list, "eu") {
			t.Errorf("%v serve", list)
		}
		w.end()
	})
}

// A planned switchover: nothing is lost, the gap is short, and nobody waits for leases.
func TestSwitchover_AndHomeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, policy := range []int{0, 1} {
			w := settled(t, []takeover.Policy{autoPolicy, servePolicy}[policy], "eu", "us", "w1")
			for _, turn := range [][2]string{{"eu", "us"}, {"us", "eu"}} {
				p, err := w.agent(turn[0]).Begin(t.Context(), Switchover, Order{Home: "eu", To: turn[1], By: "op"})
				if err != nil || p.Confirm != "eu" {
					t.Fatalf("%+v %v", p, err)
				}
				if took := w.untilServes(turn[1], 20*time.Second); took > time.Second {
					t.Errorf("%s to %s took %s", turn[0], turn[1], took)
				}
				w.wait("the act ends", time.Minute, func() bool { return w.agent(turn[0]).Homes()[0].Act.Outcome != "" })
				if act := w.agent(turn[0]).Homes()[0].Act; act.Outcome != Done {
					t.Errorf("%+v", act)
				}
				w.pass(10 * time.Second)
			}
			for _, n := range []string{"eu", "us"} {
				if len(w.sites[n].copy.aside) > 0 {
					t.Errorf("%s set something aside in a planned switchover", n)
				}
			}
			w.end()
		}
	})
}

// The standby goes away while it gets the last records: the switchover is given up and
// devices go on as before.
func TestSwitchover_AbortsBeforeTheHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		if _, err := w.agent("eu").Begin(t.Context(), Switchover, Order{Home: "eu", To: "us", Wait: 3 * time.Second}); err != nil {
			t.Fatal(err)
		}
		w.cutOff("eu", true, "us")
		w.mu.Lock()
		w.sites["eu"].copy.shipped["us"] = Shipment{}
		w.mu.Unlock()
		w.wait("the act ends", time.Minute, func() bool { return w.agent("eu").Homes()[0].Act.Outcome != "" })
		if act := w.agent("eu").Homes()[0].Act; act.Outcome != Aborted || !strings.Contains(act.Detail, "did not have everything within 3s") {
			t.Errorf("%+v", act)
		}
		st := w.sites["eu"].copy
		if st.State().Handed != "" || st.drained {
			t.Error("something is different from before")
		}
		w.untilServes("eu", time.Second)
		w.end()
	})
}

// The host dies right after it handed over, with the last record on its way already:
// the standby finishes, and nobody waits for the host.
func TestSwitchover_HostDiesAfterTheHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		if _, err := w.agent("eu").Begin(t.Context(), Switchover, Order{Home: "eu", To: "us"}); err != nil {
			t.Fatal(err)
		}
		w.wait("us knows", 10*time.Second, func() bool { return w.sites["us"].copy.State().Handed == "us" })
		w.down("eu")
		w.untilServes("us", 10*time.Second)
		w.end()
	})
}

// The host crashes between the handover and telling anyone; started again it never
// serves that epoch, and the standby gets the record from it.
func TestSwitchover_CrashResumesFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us") // the record is not shipped
		w.mu.Lock()
		c := w.sites["eu"].copy
		c.handed, c.log = "us", append(c.log, -1)
		w.mu.Unlock()
		w.down("eu")
		w.up("eu", false)
		w.pass(2 * time.Second)
		if list := w.serving(); len(list) > 0 {
			t.Fatalf("%v serve", list)
		}
		w.heal()
		w.untilServes("us", 10*time.Second)
		w.end()
	})
}

// The receiver of a handed epoch dies before it begins: the former host stands for a
// new epoch, since its copy is complete.
func TestSwitchover_ReceiverDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.down("us")
		w.mu.Lock()
		c := w.sites["eu"].copy
		c.handed, c.log = "us", append(c.log, -1)
		w.mu.Unlock()
		w.untilServes("eu", time.Minute)
		if e := c.State().Epoch; e.Number < 2 {
			t.Errorf("it serves the epoch that it handed over: %v", e)
		}
		w.up("us", false)
		w.pass(20 * time.Second)
		w.untilServes("eu", time.Second)
		w.end()
	})
}

// A chain: the second host dies too. The third region takes over what the second one
// shipped, and the first one's return in the middle changes nothing.
func TestChain_SecondFailureDuringTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "ap", "w1", "w2")
		w.down("eu")
		w.untilServes("us", time.Minute)
		w.pass(time.Second)
		w.down("us")
		w.pass(2 * time.Second)
		w.up("eu", false) // with the copy of the first epoch
		w.wait("one serves", time.Minute, func() bool { return len(w.serving()) == 1 })
		if got := w.serving(); !slices.Equal(got, []string{"ap"}) {
			t.Errorf("%v serves; ap has what us shipped, eu has less", got)
		}
		w.up("us", false)
		w.pass(20 * time.Second)
		w.untilServes("ap", time.Second)
		w.end()
	})
}

// The first of the line is behind a living one: the voters know, and refuse it.
func TestStandbyBehind_IsNotPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "ap", "w1", "w2")
		w.cutOff("eu", true, "us") // us falls behind, ap does not
		w.pass(3 * time.Second)
		w.down("eu")
		w.untilServes("ap", time.Minute)
		w.end()
	})
}

// The host acknowledges what no standby has, and said so before: nobody is promoted by
// votes, an operator may.
func TestFellShort_NobodyIsPromotedByVotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		if err := w.agent("eu").FallShort(t.Context(), "eu", 100, true); err != nil {
			t.Fatal(err)
		}
		w.down("eu")
		w.down("w1") // it was written down
		w.up("w1", false)
		w.pass(time.Minute)
		if list := w.serving(); len(list) > 0 {
			t.Fatalf("%v serve", list)
		}
		a := w.agent("us")
		var refused *Refused
		if _, err := a.Plan(t.Context(), Failover, Order{Home: "eu"}); !errors.As(err, &refused) || !strings.Contains(refused.Error(), "no standby has") {
			t.Errorf("%v", err)
		}
		if _, err := a.Begin(t.Context(), Failover, Order{Home: "eu", Force: true}); err != nil {
			t.Fatal(err)
		}
		w.untilServes("us", time.Minute)
		w.end()
	})
}

// It has caught up and said so: votes decide again.
func TestFellShort_AndCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		for _, on := range []bool{true, false} {
			if err := w.agent("eu").FallShort(t.Context(), "eu", 100, on); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
			if !on {
				break
			}
			if err := w.agent("eu").FallShort(t.Context(), "eu", 99, false); err != nil { // an old word that comes late
				t.Fatal(err)
			}
			if k := w.sites["w1"].book.kept["eu"]; !k.Short.On {
				t.Error("an old word took back a newer one")
			}
			if err := w.agent("eu").FallShort(t.Context(), "eu", 101, false); err != nil {
				t.Fatal(err)
			}
		}
		w.down("eu")
		w.untilServes("us", time.Minute)
		w.end()
	})
}

// A voter that could not be reached when the standby had caught up hears of it later.
func TestFellShort_WhoMissedTheEndHearsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		a := w.agent("eu")
		if err := a.FallShort(t.Context(), "eu", 100, true); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Second) // all have heard
		w.cutOff("eu", true, "w1")
		if err := a.FallShort(t.Context(), "eu", 101, false); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Second)
		w.heal()
		w.pass(5 * time.Second)
		w.down("eu")
		w.untilServes("us", time.Minute)
		w.end()
	})
}

// Manual: the operator fails over, the lost region lives behind the cut and serves on,
// as its policy says; when they see each other the lower epoch is fenced.
func TestManualFailover_BothServeUntilTheySeeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, servePolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us", "w1")
		w.pass(20 * time.Second)
		p, err := w.agent("us").Plan(t.Context(), Failover, Order{Home: "eu"})
		if err != nil || !strings.Contains(p.Risk, "nothing stops eu") || p.Confirm != "eu" {
			t.Fatalf("%+v %v", p, err)
		}
		w.mayTwo = true
		if _, err := w.agent("us").Begin(t.Context(), Failover, Order{Home: "eu"}); err != nil {
			t.Fatal(err)
		}
		w.wait("both serve", time.Minute, func() bool { return slices.Equal(w.serving(), []string{"eu", "us"}) })
		w.pass(5 * time.Second)
		w.heal()
		w.untilServes("us", 10*time.Second)
		w.wait("eu follows", time.Minute, func() bool { return w.sites["eu"].copy.State().Epoch.Host == "us" })
		if len(w.sites["eu"].copy.aside) == 0 {
			t.Error("nothing of what eu did alone was set aside")
		}
		w.end()
	})
}

// With self-fence the lost region stopped before the operator's failover got its majority.
func TestManualFailover_SelfFenceStopsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, fencePolicy, "eu", "us", "w1")
		w.cutOff("eu", true, "us", "w1")
		w.pass(500 * time.Millisecond)
		a := w.agent("us")
		w.wait("the voters know", time.Minute, func() bool { _, err := a.Plan(t.Context(), Failover, Order{Home: "eu"}); return err == nil })
		if _, err := a.Begin(t.Context(), Failover, Order{Home: "eu"}); err != nil {
			t.Fatal(err)
		}
		w.untilServes("us", time.Minute)
		w.end()
	})
}

// Every precondition that is not met is named, all at once.
func TestRefusals_NameEachReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		conditions := func(region string, act Action, o Order) (list []string) {
			o.Home = "eu"
			_, err := w.agent(region).Plan(t.Context(), act, o)
			var refused *Refused
			if errors.As(err, &refused) {
				for _, r := range refused.Reasons {
					list = append(list, r.Condition)
				}
			}
			return list
		}
		expect := func(region string, act Action, o Order, want ...string) {
			t.Helper()
			if got := conditions(region, act, o); !slices.Equal(got, want) {
				t.Errorf("%s at %s %+v: %v, want %v", act, region, o, got, want)
			}
		}
		expect("eu", Switchover, Order{To: "mars"}, "no_standby", "standby_away")
		expect("us", Switchover, Order{To: "eu"}, "not_host")
		expect("us", Fence, Order{}, "not_host")
		expect("eu", Failover, Order{}, "is_host")
		expect("us", Failover, Order{}, "host_serves")
		expect("eu", Switchover, Order{To: "us"})
		w.mu.Lock()
		us := w.sites["us"].copy
		us.level, us.incoming = 0, true
		w.sites["eu"].copy.level, w.sites["eu"].copy.size = 2, Size{Sessions: 500, StoreBytes: 1 << 30}
		w.mu.Unlock()
		w.agent("us").o.Room = func() Room { return Room{Sessions: 100, Queued: -1, DiskBytes: 0} }
		expect("eu", Switchover, Order{To: "us"}, "standby_behind", "feature_level", "capacity", "capacity")
		w.down("us")
		w.down("w1")
		w.pass(10 * time.Second)
		expect("eu", Switchover, Order{To: "us"}, "not_serving", "standby_away", "no_majority")
		w.end()
	})
}

// An operator fences a region; a restart does not take that back, resume does.
func TestOperatorsFence_StaysUntilResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, servePolicy, "eu", "us", "w1")
		if _, err := w.agent("eu").Begin(t.Context(), Fence, Order{Home: "eu"}); err != nil {
			t.Fatal(err)
		}
		w.wait("eu stops", 5*time.Second, func() bool { return len(w.serving()) == 0 })
		w.down("eu")
		w.up("eu", true)
		w.pass(20 * time.Second)
		if h := w.agent("eu").Homes()[0]; len(w.serving()) > 0 || h.Standing != "held" {
			t.Fatalf("%v serve, eu is %q", w.serving(), h.Standing)
		}
		if _, err := w.agent("eu").Begin(t.Context(), Resume, Order{Home: "eu"}); err != nil {
			t.Fatal(err)
		}
		w.untilServes("eu", 20*time.Second)
		w.end()
	})
}

// An operator fences a region, and the voters promote the standby. The fence stays: the home goes back
// only once it was taken back, where it was laid.
func TestOperatorsFence_AndTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		if _, err := w.agent("eu").Begin(t.Context(), Fence, Order{Home: "eu"}); err != nil {
			t.Fatal(err)
		}
		w.untilServes("us", time.Minute)
		w.wait("eu follows", time.Minute, func() bool { return w.sites["eu"].copy.State().Epoch.Host == "us" })
		w.pass(10 * time.Second)
		back := func() []string {
			var refused *Refused
			if _, err := w.agent("us").Begin(t.Context(), Switchover, Order{Home: "eu", To: "eu"}); errors.As(err, &refused) {
				return []string{refused.Reasons[0].Condition, refused.Reasons[0].Reason}
			}
			return nil
		}
		if got := back(); len(got) == 0 || got[0] != "standby_behind" || !strings.Contains(got[1], "region resume eu") {
			t.Errorf("the way back: %q", got)
		}
		if p, err := w.agent("eu").Begin(t.Context(), Resume, Order{Home: "eu", Force: true}); err != nil || p.Confirm != "" {
			t.Fatalf("resume: %+v %v", p, err)
		}
		w.wait("the act ends", time.Minute, func() bool { return w.agent("eu").Homes()[0].Act.Outcome != "" })
		if h := w.agent("eu").Homes()[0]; h.Act.Outcome != Done || h.Held {
			t.Fatalf("%+v", h)
		}
		if got := back(); got != nil {
			t.Fatalf("the way back: %q", got)
		}
		w.untilServes("eu", 20*time.Second)
		w.end()
	})
}

// The voters' majority is gone for good. An operator who knows serves without it.
func TestForced_WithoutAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.down("eu")
		w.down("w1")
		w.pass(20 * time.Second)
		var refused *Refused
		if _, err := w.agent("us").Plan(t.Context(), Failover, Order{Home: "eu"}); !errors.As(err, &refused) || refused.Reasons[0].Condition != "no_majority" {
			t.Errorf("%v", err)
		}
		if _, err := w.agent("us").Begin(t.Context(), Failover, Order{Home: "eu", Force: true}); err != nil {
			t.Fatal(err)
		}
		w.untilServes("us", time.Minute)
		w.down("us")
		w.up("us", true)
		w.untilServes("us", 10*time.Second) // the operator's word outlives the node
		w.end()
	})
}

// The voters are back after an operator had one region serve without them: they decide
// again, also for a node that comes to lead later. Otherwise that region would serve on
// behind the next cut, beside the one that they promise the home to.
func TestForced_EndsWithTheNextMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		w.down("eu")
		w.down("w1")
		w.pass(20 * time.Second)
		if _, err := w.agent("us").Begin(t.Context(), Failover, Order{Home: "eu", Force: true}); err != nil {
			t.Fatal(err)
		}
		w.untilServes("us", time.Minute)
		w.up("eu", false)
		w.up("w1", false)
		w.wait("eu follows", time.Minute, func() bool { return w.sites["eu"].copy.State().Epoch.Host == "us" })
		w.pass(10 * time.Second)
		w.down("us")
		w.up("us", true)
		w.untilServes("us", 10*time.Second)
		w.cutOff("us", true, "eu", "w1")
		w.untilServes("eu", time.Minute)
		w.pass(10 * time.Second)
		w.heal()
		w.end()
	})
}

// A disk that does not keep a promise gives none.
func TestBookFails_NoPromiseIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, autoPolicy, "eu", "us", "w1")
		for _, n := range []string{"us", "w1"} {
			w.up(n, false)
			w.pass(time.Second)
			w.sites[n].book.mu.Lock()
			w.sites[n].book.fail = errors.New("the disk is gone")
			w.sites[n].book.mu.Unlock()
		}
		w.up("eu", false)
		w.pass(20 * time.Second)
		if list := w.serving(); len(list) > 0 {
			t.Errorf("%v serve", list)
		}
		for _, n := range []string{"us", "w1"} {
			w.sites[n].book.mu.Lock()
			w.sites[n].book.fail = nil
			w.sites[n].book.mu.Unlock()
		}
		w.wait("one serves", 30*time.Second, func() bool { return len(w.serving()) == 1 })
		w.end()
	})
}

// The host comes and goes every few seconds. Whatever happens, no two serve at once,
// and when it ends one serves.
func TestFlapping_Host(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1")
		for range 10 {
			w.cutOff("eu", true, "us", "w1")
			w.pass(4700 * time.Millisecond)
			w.heal()
			w.pass(1300 * time.Millisecond)
		}
		w.wait("one serves", time.Minute, func() bool { return len(w.serving()) == 1 })
		w.end()
	})
}

// A standby was promised the home by the witness and died before it began: the host can
// never get its own epoch from the witness again. It begins another one, or, if its copy
// cannot, lets the standby do so when that is back.
func TestBidDiesHalfway(t *testing.T) {
	for _, rigid := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := settled(t, autoPolicy, "eu", "us", "w1")
			w.mu.Lock()
			w.rigid = rigid
			w.mu.Unlock()
			w.down("us")
			w.down("w1")
			w.sites["w1"].book.kept["eu"] = Kept{Promised: home.Epoch{Number: 2, Host: "us"}, InForce: home.Epoch{Number: 1, Host: "eu"}}
			w.up("w1", false)
			if !rigid {
				w.wait("eu serves a new epoch", 2*time.Minute, func() bool {
					return slices.Equal(w.serving(), []string{"eu"}) && w.sites["eu"].copy.State().Epoch.Number > 2
				})
			} else {
				w.pass(time.Minute)
				w.up("us", false)
				w.untilServes("us", 2*time.Minute)
			}
			w.end()
		})
	}
}

// A witness is replaced while the standby hears nothing of it and sees only the old one: by the
// old list the two of them are a majority, by the new one the host and the new witness are. The
// old witness knows who votes by now, and does not promise the home to a standby that does not.
func TestVotersChanged_StandbyHasNotHeardOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := settled(t, autoPolicy, "eu", "us", "w1", "w2")
		eu, us := w.sites["eu"].copy, w.sites["us"].copy
		us.voters = []string{"eu", "us", "w1"}
		eu.vote("eu", "us", "w1")
		w.pass(5 * time.Second)
		w.cutOff("us", true, "eu", "w2")
		for _, next := range [][]string{{"eu", "us", "w1", "w2"}, {"eu", "us", "w2"}} {
			w.wait("voters to know who votes", time.Minute, func() bool { return w.agent("eu").VotersKnow("eu") })
			eu.vote(next...)
		}
		w.wait("voters to know who votes", time.Minute, func() bool { return w.agent("eu").VotersKnow("eu") })
		w.cutOff("eu", true, "w1")
		w.pass(2 * time.Minute)
		w.untilServes("eu", time.Second)
		w.wait("us to hear why", time.Minute, func() bool {
			return slices.ContainsFunc(w.agent("us").Homes()[0].Voters, func(v VoterStatus) bool { return v.Voter == "w1" && v.Answer == outdated.String() })
		})
		w.heal()
		us.vote("eu", "us", "w2")
		w.down("eu")
		w.untilServes("us", time.Minute)
		w.end()
	})
}

// vote has the copy's log say who votes.
func (c *fakeCopy) vote(names ...string) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.voters = names
}
