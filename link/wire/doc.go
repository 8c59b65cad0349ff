// Package wire is the format of the tunnels between regions: the opening, the
// control messages, the frames of messages and the interest messages, as bytes.
// docs/wire-link.md describes the same for people.
//
// It is pure: no connection, no goroutine, no clock, and no knowledge of homes
// or sessions. It bounds every length before it allocates, and its decoders are
// fuzzed. What the fields mean, and when which message is sent, is the business
// of package link.
//
// Integers are unsigned LEB128 (encoding/binary's Uvarint) unless a width is
// given; those with a width are big endian. A string or byte string is its
// length and its bytes.
package wire
