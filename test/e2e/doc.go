// Package e2e shows the whole product from outside: regions as processes, clients that other
// people wrote, and a ledger of what devices sent and saw. It holds tests only.
//
// One file a behaviour; tests are named after the incident. What a test expects is read off
// the devices. The broker's own view (its admin API) serves to wait for something, and is
// itself the subject only where a test says so. Every node's log is searched for data races
// and panics when its test ends.
//
// TestLab_* need root for their network namespaces (package lab); -lab runs their long cases.
//
// The nodes run the executable named by CAUSEWAY_BINARY, or one built here with -race.
package e2e
