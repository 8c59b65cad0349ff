package replica

// SetShipped says how far the standby is: all records up to a number are applied there.
// degraded: nobody waits for it any more. The leader is told, again and again, and tells the
// region's nodes; on others it does nothing.
func (r *Replica) SetShipped(records uint64, degraded bool) {}

// AwaitShipped calls done, once, when a record of this home (home.Outcome.Record) is applied
// in the standby region, or need not be waited for. It may call it before it returns. done must not block. What
// waits when the replica stops, or stands by, is never called.
func (r *Replica) AwaitShipped(record uint64, done func()) {}

// Shipped is what this node knows of it.
func (r *Replica) Shipped() (records uint64, degraded bool) { return 0, false }
