// Package readiness says, all the time, whether a region could stand a disaster now:
// checks that are run at a pace of their own and within a bounded time, and the score
// and the blockers that follow from their results.
//
// It is not health: a node that serves devices well may be in no shape to take over
// another region's. And it measures nothing itself: those who own what is looked at
// bring a Check, and internal/app joins them.
package readiness
