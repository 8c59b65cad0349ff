// Package foreign links a region to a broker of another make, as a client of it: MQTT 5, or 3.1.1 where the broker has no
// 5. Out of the home's durable spool, trimmed by what the broker acknowledged; into the home's log, acknowledged once
// committed.
//
// It is no part of the protocol between regions (package link), whose promises are stronger: docs/foreign-link.md says
// what a broker that knows nothing of Causeway cannot hold. DESIGN.md beside this file says how it works.
//
// One node of a region has the links: the one that has the tunnels to other regions. Each link has goroutines, queues and
// counters of its own. Forward and Spooled never block.
package foreign
