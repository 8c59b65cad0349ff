// Package routing answers who wants a topic: filters and what they match (MQTT section 4.7), the Table of
// subscriptions, the interest that homes tell each other, and what a link's policy leaves of it.
//
// It is pure: no goroutines, no I/O, no clock. It does not know sessions, queues, spools or peers; a subscriber is any
// comparable value and a namespace is a string. Each namespace has a Table of its own, which the caller keeps.
//
// Table may be used from many goroutines at once. Interest and Remote belong to the home's state machine and to one
// goroutine. Functions on filters expect what ValidFilter accepts; none of them panics on anything else.
//
// DESIGN.md beside this file says how the Table works, what else was measured, and what callers must do themselves.
package routing
