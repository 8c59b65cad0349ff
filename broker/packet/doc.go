// Package packet is the MQTT codec of the broker: MQTT 3.1 (protocol name MQIsdp, level 3), 3.1.1 and 5.0.
//
// It is strict. Everything a network peer may send is checked here, byte by byte, before any of it is used: flags,
// lengths, UTF-8, duplicate and misplaced properties, values out of range, bytes left over. Every refusal is an [*Error]
// with the MQTT 5 reason code to answer with and words that name the packet, the field and the rule. Nothing is
// allocated on the word of a length field: a length is compared with the bytes at hand first, and [ReadHeader] hands out
// the packet's length before the caller makes room for it.
//
// It is not a connection: what depends on state is the caller's to check (which packet may come when, topic aliases
// above the announced maximum, Receive Maximum, a session expiry in DISCONNECT after none in CONNECT, what an ACL says).
// It starts no goroutine, keeps no state and does no I/O.
//
// Ownership: [DecodePublish] hands out views of the caller's body (topic, payload, forwarded properties), valid until
// the caller reuses those bytes. All other decoders copy what they keep. Encoders append to the caller's slice and
// allocate nothing else.
//
// Rule tags such as [MQTT-3.3.1-4] are those of MQTT 5 unless they say otherwise.
//
// DESIGN.md beside this file says which code answers what, and where and why the broker differs from mochi's decoder.
package packet
