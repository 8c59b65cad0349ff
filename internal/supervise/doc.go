// Package supervise runs the services of a node in a tree and restarts the ones that fail.
//
// The model is Erlang's: a crash stays where it happens. Every service is started again by
// itself, so one that fails over and over waits by its own back-off and delays no other. A panic in
// Run is an error like any other, with its stack logged once. What cannot be repaired by starting
// again (an fsync error, a log entry of an unknown kind) is returned as a Fatal: it ends the tree,
// and the tree's Run returns it.
//
// Services start in the order of Add and stop one after the other in the reverse order, so a
// service may use what was added before it until its own Run has returned.
//
// A part of a service, such as one of many links, is kept (Keep) with a record and a back-off of its own. What fails so
// often in a row that its pause has grown to the longest is isolated. What panics and is not started again, such as a
// request, is counted (Crashed).
//
// What it is not: it does not know what a service does or when it is ready (internal/health), and
// it does not cover goroutines a service starts without package group, or without waiting for
// them: a panic there ends the process. The only importer of suture, whose types do not leave the
// package.
//
// Who owns what: a Tree owns the goroutines of its services while Run runs; Add, Remove and Status
// may be called from any goroutine.
package supervise
