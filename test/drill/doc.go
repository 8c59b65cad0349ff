// Command drill holds a drill of every scenario against three regions and a witness on this
// machine, as `make drill` does, and prints their reports. The regions are real processes;
// what an operator's agent does with systemd and a firewall the rig does with signals and with
// relays that regions dial in place of each other.
//
// It also checks the drill itself: against regions whose promotion is delayed by three seconds
// the report says about three seconds more; a goal that is missed, a guardrail and an
// interruption give the exit codes that the handbook promises, and leave nothing broken.
package main
