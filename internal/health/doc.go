// Package health holds the one state of a node, with its reason and since when.
//
// Whoever knows something about the node registers a check: the replica says whether it has caught
// up, the cluster whether the node is isolated, the takeover code whether a home is fenced. The
// node's state is the gravest of what they say. Load balancers (/readyz), `causeway ctl status`
// and the metric causeway_node_state all read it here, so they never disagree.
//
// What it is not: it decides nothing. A node that must stop serving is stopped by the code that
// found out; this is where it says so.
//
// Who owns what: a Node belongs to the app, which runs it; every method may be called from any
// goroutine.
package health
