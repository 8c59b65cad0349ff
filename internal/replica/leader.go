package replica

import (
	"fmt"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
)

// leader is the sender for the node that leads: it stamps home time and appends
// the record to raft's log. Entries forwarded by siblings will come here too,
// to be merged into one record.
type leader struct {
	home  home.ID
	clock *clock
	raft  *raft.Raft
	fail  func(error)
}

// send implements sender. It blocks while raft's own buffer is full (64
// records), until raft takes more or is shut down.
func (l *leader) send(entries []home.Entry) {
	rec := home.Record{Home: l.home, Time: l.clock.now(), Entries: entries}
	size := 64
	for i := range entries {
		size += 64
		for _, op := range entries[i].Ops {
			size += 32 + home.OpSize(op)
		}
	}
	// The buffer is the record's for good: raft, its cache and the home's bodies
	// refer to it.
	b := rec.Append(make([]byte, 0, size))
	if len(b) > raftMaxEntry {
		l.fail(fmt.Errorf("a record of %d bytes does not fit the log's limit of %d", len(b), raftMaxEntry))
		return
	}
	l.raft.ApplyLog(raft.Log{Data: b}, 0)
}

// raftMaxEntry is the largest entry the log takes.
const raftMaxEntry = 63 << 20
