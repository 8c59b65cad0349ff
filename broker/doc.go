// Package broker is the MQTT edge: listeners, connections, the protocol's state and delivery to devices.
//
// A connection speaks MQTT 3.1, 3.1.1 or 5 over TCP, TLS or WebSocket and stands for one session of a home. What must
// outlive the connection (the session, its subscriptions, its queue, inbound QoS 2 ids, retained messages) is not here:
// the broker proposes operations and the home decides; an acknowledgement goes to a device when the operation's outcome
// is known. What may be lost with the node (QoS 0, the ack policy memory) is matched against the home's table and
// delivered by the broker itself.
//
// Who owns what: a connection's reader goroutine owns what it reads and the topic aliases of the device; a drain
// goroutine, which exists only while there is something to send, owns the socket's writing side; what they share with
// the home's apply goroutine is guarded by the connection's mutex, and nothing is called out while it is held.
//
// What it is not: it keeps nothing on disk, matches no durable publish, knows no peer but through a Forwarder, and does
// not decide which connection owns a session: the home's log does. DESIGN.md beside this file has the goroutines, the
// bounds, and the incident behind each odd rule. The package is the only importer of mochi and gorilla/websocket.
package broker
