// Package meshtls makes, loads and checks the certificates of a Causeway mesh: the authority, the
// identities of nodes and regions it issues, and the TLS configurations that hold peers to them.
//
// An identity is two URI names in a certificate:
//
//	causeway://region/eu
//	causeway://region/eu/node/eu-1
//
// Between nodes and regions only these count: not the address that was dialled, not the common
// name. A region behind NAT has no address worth certifying, and a peer's address may change under
// a live link, while its region may not. Both sides present a certificate, both verify it against
// the same CA file, TLS 1.3 only. Errors say which identity was seen and which was wanted.
//
// Source is the loaded identity. It owns the certificate, key and trust of this node, swaps them
// as one on Reload, and hands out configurations that read it at each handshake; a handshake sees
// the old material or the new, never a mixture. Device and DeviceConfig are apart: the certificate
// devices see may come from any authority and says nothing about regions.
//
// What it is not: it opens no socket, keeps no list of issued certificates, and does not decide
// which regions may link. It uses the wall clock through package time only, so a simulation in a
// synctest bubble issues its certificates inside the bubble.
package meshtls
