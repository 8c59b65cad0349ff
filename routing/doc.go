// Package routing answers who wants a topic: filters and what they match, the table of subscriptions, and the interest
// that regions tell each other (DESIGN.md section 6).
//
// It is pure: no goroutines, no I/O, no clock. It does not know sessions, queues, spools or peers; a subscriber is any
// comparable value and a namespace is a string. Each namespace has a Table of its own, which the caller keeps.
package routing
