package home

import "math/bits"

// The chain is a running digest of what applying the log did: every operation
// folds in its kind, its outcome and its effects. Two replicas that applied the
// same records have the same one, so a replica whose memory, code or disk went
// wrong is found out soon after. It is kept with the state.
//
// Within one operation effects are added up, since the order in which a message
// meets its subscribers is no part of the state machine; operations follow one
// another by multiplication, where order counts. Places in a queue are part of an
// effect, so two messages that changed places show.
//
// What is folded in, and how, is part of the log's meaning: replicas of one home
// compare their chains, so another way to compute it needs a feature level.

const (
	chainPrime = 0x9E3779B97F4A7C15
	chainStep  = 0xBF58476D1CE4E5B9
)

// effect is what an operation did to something.
type effect uint64

const (
	effectQueued effect = iota + 1
	effectRemoved
	effectReceived
	effectGroupQueued
	effectGroupReturned
	effectSpooled
	effectTrimmed
	effectRetained
	effectForgotten
	effectSession
	effectTimed
	effectEnded
	effectNumbered
	effectJoined
	effectReleased
	effectCode
	effectPeer
	effectInterest
	effectRun
	effectConfigured
	effectShared
	effectPromoted
	effectHanded
	effectPromised
	effectCleared
	effectReconciled
	effectMerged
	effectDocument
	effectQuotas
	effectRoamed
	effectOwed
	effectRestored
)

// note adds an effect to the operation being applied.
func (s *State) note(e effect, a, b uint64) {
	s.effects += mix(mix(uint64(e)*chainPrime^a) ^ b)
}

// mix spreads a value over all bits.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^chainPrime, chainStep)
	return hi ^ lo
}

// link closes an operation, or a record if kind is 0.
func (s *State) link(kind Kind, o *Outcome) {
	for i, c := range o.Codes {
		s.note(effectCode, uint64(i), uint64(c))
	}
	x := mix(uint64(kind)<<8 | uint64(o.Code))
	x = mix(x ^ uint64(o.Seq))
	x = mix(x ^ uint64(o.Epoch)<<24 ^ uint64(o.Count))
	if kind == KindAttach {
		x = mix(x ^ o.Resumed ^ uint64(o.Expiry)<<32)
		x += uint64(flag(o.SessionPresent, 1))
	}
	s.chain = mix(s.chain+s.effects) ^ x
	s.effects = 0
}

// Chain returns how many records were applied since the home began, and the
// running digest of what they did.
func (s *State) Chain() (records, sum uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.records, s.chain
}
