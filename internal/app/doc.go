// Package app is a whole node: it makes the parts from a configuration, joins
// them and runs them under one supervision tree. New, Run, Reload; a test runs
// one in its own process. It is the one package that may import everything, and
// it decides nothing: decisions live in the parts.
//
// The tree, in the order of starting (stopping goes the other way):
//
//	admin   API, health, metrics: up first and down last, so that a node can
//	        always say why it does not serve
//	home    data directory, replica; started again after a failure
//	links   tunnels to the other regions
//	broker  the MQTT edge: the first to stop
package app
