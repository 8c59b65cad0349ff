// Package trace records what becomes of one client, one topic or one address at this node, for as long as an operator
// asked: connects and why they were refused, subscriptions, publishes, deliveries, acknowledgements, forwards to links.
//
// It is bounded whatever happens: a trace ends when its time is over, keeps its newest lines and counts those that made
// room, and there are few of them. While none runs the question whether one does costs one atomic load and nothing else.
//
// What it is not: it knows no connection and no home, and is in the memory of the node only. Who notes lines (the edge,
// links) asks On first and builds nothing when it says nil. Every method may be called from any goroutine.
package trace
