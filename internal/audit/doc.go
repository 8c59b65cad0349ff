// Package audit keeps who changed what on a node: a log of records of which each
// holds the hash of the one before, so that one that was altered or taken out of the
// middle shows. It does not show when its end was cut off, or all of it replaced:
// keep the hash of the newest record elsewhere for that.
//
// A file has a line a record: its hash in hex, a space, its JSON. The hash is
// SHA-256 over the hash of the record before, in hex, a space and the JSON.
package audit
