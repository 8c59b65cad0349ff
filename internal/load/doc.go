// Package load is devices that measure a broker: any broker, since they know
// nothing but MQTT. Every message carries who sent it, its number and when it
// was due, so a run can say what was sent, acknowledged, received, lost though
// acknowledged, doubled and out of order, and how long it took.
//
// A Device publishes, subscribes or both, on one connection, with a session that
// it takes up again when the connection is lost. Pairs, Drain and Storm are what
// is done with many of them. CPU and memory of the broker are read by process id
// (Usage).
//
// What it is not: no test of what the standard forbids, and no verdict; whoever
// runs it says what is good enough.
package load
