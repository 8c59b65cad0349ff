// Package agent carries out what package takeover decides: it answers for a region's
// vote, keeps the leases of the homes that the region hosts, stands for homes whose
// host is silent, and does what an operator asks: switchover, failover, fence, resume.
//
// A region has one Agent at work: that of the node that leads the group in which the
// region's promises are kept (see Book). A witness has no Agent, only Votes.
//
//	Votes     answers voters' questions; a promise is in the Book before it is given
//	keeper    one a copy: renews the lease of a hosted home, or follows its host and
//	          stands for the home; promotes, fences, resumes after a crash from the log
//	act       what an operator began, step by step
//
// The world comes in by interfaces: Caller (other regions and witnesses), Copy (the
// logs), Book (durable promises). Nothing here compares two clocks: times are those of
// this process's monotonic clock, and a promise counts from when it was asked for.
//
// It does not move data: shipping, the copies and reconciliation are other packages'.
package agent
