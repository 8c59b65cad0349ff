package sim

import "causeway/internal/home"

// Fault is a mistake planted on purpose.
type Fault int

// The faults a test plants to see that the checker can fail.
const (
	NoFault Fault = iota

	// Of the log and its disks.
	NoSync          // a crash loses what was committed after the last flush
	LeaderNoSync    // a leader counts itself before its disk has synced
	FollowersNoSync // followers acknowledge what their disks have not synced
	CommitAlone     // a leader commits what only its own disk has
	WipedVotes      // a node that lost its disk goes on with the vote it had
	NoNumbers       // what is sent to the leader twice is applied twice [A2]
	WallClock       // home time is the leader's wall clock [B6]

	// Of nodes and owners.
	EarlyDown    // a new leader declares dead whom it has not heard yet [B5]
	NoNodeUp     // a node that starts again leaves its former run's sessions attached
	NoYield      // CONNACK before the former owner has stopped [C1]
	NoFreshness  // a node sends for its sessions however far behind it is [C1]
	NoEpochs     // a former owner's late proposals count [A3]
	NewPacketIDs // after a reconnect the queue gets fresh packet ids
	NoWills      // a connection that is cut takes its will along
	AckOnCut     // what was sent on a connection that is cut counts as acknowledged

	// Of the edge.
	AckFirst        // PUBACK and PUBREC go out before the commit
	ReleaseFirst    // PUBCOMP goes out before the release of the id commits [A4]
	LateUnsubscribe // an UNSUBSCRIBE takes effect before it was sent

	// Of links.
	TrimOnSend    // the link drops a frame's messages when it was sent
	ForgetCursors // a restarted home has no link cursors: known frames count again
	NoVersions    // retained messages cross without their version
	SendSpooled   // what waits for a peer is sent whatever the rules of residency say
	ForgetRules   // the home forgets the rules of residency
	GroupTwice    // a global group gets in a peer's region whatever else goes there
	GroupNowhere  // what a peer's region was chosen for is not said
)

// corrupt does to a record that is about to be applied what a planted mistake
// would: the same on every replica.
func (f Fault) corrupt(s *home.State, rec *home.Record) {
	switch f {
	case NoNumbers:
		next := map[home.Owner]uint64{}
		for i := range rec.Entries {
			e := &rec.Entries[i]
			if inc, n := s.Incarnation(e.Owner.Node); next[e.Owner] == 0 && inc == e.Owner.Incarnation {
				next[e.Owner] = n
			}
			next[e.Owner]++
			e.N = next[e.Owner]
		}
	case ForgetRules:
		for i := range rec.Entries {
			for _, op := range rec.Entries[i].Ops {
				if c, ok := op.(*home.Configure); ok {
					c.Residency = nil
				}
			}
		}
	case NoEpochs:
		for i := range rec.Entries {
			for _, op := range rec.Entries[i].Ops {
				speakAnew(s, op)
			}
		}
	}
}

// misplace does to a frame what a planted mistake would.
func (f Fault) misplace(fr *home.Frame) {
	for i := range fr.Messages {
		m := &fr.Messages[i]
		switch {
		case f == GroupNowhere:
			m.Groups = nil
		case f == GroupTwice && m.Live:
			m.Groups = []string{workersGroup + "/" + workersFilter}
		}
	}
}

// speakAnew gives an operation the epoch that its session has.
func speakAnew(s *home.State, op home.Op) {
	epoch := func(k home.SessionKey) home.SessionEpoch { x, _ := s.Session(k); return x.Epoch }
	switch op := op.(type) {
	case *home.Publish:
		op.Epoch = epoch(op.Session)
	case *home.Release:
		op.Epoch = epoch(op.Session)
	case *home.Ack:
		op.Epoch = epoch(op.Session)
	case *home.Subscribe:
		op.Epoch = epoch(op.Session)
	case *home.Unsubscribe:
		op.Epoch = epoch(op.Session)
	case *home.Detach:
		op.Epoch = epoch(op.Session)
	}
}
