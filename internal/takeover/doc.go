// Package takeover decides who may host a home: votes, leases, promotion and
// fencing, as plain functions over plain data.
//
// A home is hosted by one region at a time, at an epoch. Voters (regions with a
// vote, and witnesses) promise; a host serves while it may rely on the promises of a
// majority. It has no clock, network or disk of its own: times come in as arguments
// and are those of one machine's monotonic clock, so that only rates matter and no
// two clocks are compared. Who calls it keeps what is marked durable before it acts
// on an answer.
//
// Who carries it out is package agent.
//
// What is decided here is checked exhaustively for small sizes: see model_test.go.
package takeover
