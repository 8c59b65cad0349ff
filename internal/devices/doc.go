// Package devices keeps what a node knows of devices beside their sessions, for the question why one is offline: what
// became of their last connections (Log), which of them come most often (Top), and who is not let in (Bans).
//
// All of it is bounded, whatever devices and strangers do, and in the memory of the node only; bans are kept by the app
// in documents of the home, and come here to be asked on every CONNECT.
//
// What it is not: it closes no connection and knows no session. Every method may be called from any goroutine.
package devices
