// Package outage is a fleet of devices that goes through the loss of its region, and
// the report of that from outside: when the devices were served again, and a ledger
// of every message that was acknowledged to one of them. The devices have sessions
// to keep, at QoS 1 and 2, leave wills, and know the addresses of several regions, as
// DNS would tell them. The end-to-end tests and the benchmarks share it.
//
// What it is not: it starts and ends no region, and knows nothing of how one takes
// over from another. When that was noticed, decided and done, whoever runs it asks the
// nodes and writes it into the report (Marks).
package outage
