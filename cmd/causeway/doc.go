// Command causeway is the whole product in one binary: the node (serve), a look at a running
// one (ctl), its certificates (ca), its users (passwd), its configuration (config) and what it is
// (version).
//
// This package maps arguments, environment and signals to calls into other packages and their
// errors to exit codes. It decides nothing about MQTT, links or homes: internal/app runs a node,
// internal/config resolves its configuration, tls makes certificates. One file a command; exit.go
// has the exit codes, main.go the only os.Exit.
package main
