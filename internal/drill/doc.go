// Package drill is the rehearsal of disasters: what a plan file says, what is to be done
// next and what has to be undone, what canaries saw, and the report of it all.
//
//	plan.yaml ── Parse ── Plan ── Compile ── steps ──┐
//	                                                 ▼
//	journal (events, fsynced) ── Apply ──▶ Run ── Next ──▶ conductor ── admin APIs, agent, canaries
//	                                        ▲                  │
//	                                        └──── events ──────┘
//	ledgers (what each canary sent and saw) + journal ── Judge ──▶ Report ── HTML, JSON, chain of hashes
//
// What is decided is pure: Run folds events and says what comes next, so a drill that was
// interrupted goes on, or is cleaned up, from its journal. The conductor is what acts: it
// runs outside of the regions, as part of causeway ctl, since it has to outlive them. It
// reaches them through their admin APIs, and through an agent (a program of the operator's)
// where no API can: to kill a node, to cut a network.
//
// What it is not: a monitor, or a load generator. The canaries are few, and know public
// addresses only; what is judged is what they sent and saw and nothing else.
package drill
