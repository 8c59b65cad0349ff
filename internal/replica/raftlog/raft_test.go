package raftlog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/store"
)

// list of commands is the state machine; its snapshot is the list, a line each.
type commands struct {
	mu   sync.Mutex
	list []string
}

func (c *commands) Apply(l *raft.Log) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, string(l.Data))
	return nil
}

func (c *commands) Snapshot() (raft.FSMSnapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return frozen(slices.Clone(c.list)), nil
}

func (c *commands) Restore(r io.ReadCloser) error {
	defer r.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = nil
	for {
		var s string
		switch _, err := fmt.Fscanln(r, &s); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		c.list = append(c.list, s)
	}
}

type frozen []string

func (f frozen) Persist(k raft.SnapshotSink) error {
	for _, s := range f {
		if _, err := fmt.Fprintln(k, s); err != nil {
			return errors.Join(err, k.Cancel())
		}
	}
	return k.Close()
}

func (f frozen) Release() {}

// node is a raft group of one on our log and snapshots.
type node struct {
	raft  *raft.Raft
	log   *Log
	state *commands
}

func startNode(t *testing.T, fs store.FS) node {
	t.Helper()
	n := node{log: open(t, fs), state: &commands{}}
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = "n1", HCLog(nil, "raft")
	c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 20, 5, time.Hour
	addr, tr := raft.NewInmemTransport("")
	dog := NewWatchdog(n.log, WatchdogOptions{OnFatal: func(err error) { t.Error(err) }})
	cache, err := raft.NewLogCache(16, dog)
	if err != nil {
		t.Fatal(err)
	}
	snaps := openSnapshots(t, fs)
	if last, _ := n.log.LastIndex(); last == 0 && len(list(t, snaps)) == 0 {
		if err := raft.BootstrapCluster(c, cache, dog, snaps, tr, raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: addr}}}); err != nil {
			t.Fatal(err)
		}
	}
	if n.raft, err = raft.NewRaft(c, n.state, cache, dog, snaps, tr); err != nil {
		t.Fatal(err)
	}
	for n.raft.State() != raft.Leader {
		time.Sleep(10 * time.Millisecond)
	}
	return n
}

func (n node) stop(t *testing.T) {
	t.Helper()
	if err := n.raft.Shutdown().Error(); err != nil {
		t.Error(err)
	}
	closeLog(t, n.log)
}

func TestRaft_KeepsWhatItCommitted(t *testing.T) {
	// given a raft group of one on this log, when its machine loses power again and again in the
	// middle of traffic, with snapshots between, then every command that was committed is applied
	// once, in order, after each restart
	synctest.Test(t, func(t *testing.T) {
		fs := store.NewCrashFS()
		var committed []string
		for round := range 5 {
			n := startNode(t, fs)
			if err := n.raft.Barrier(time.Minute).Error(); err != nil {
				t.Fatal(err)
			}
			n.state.mu.Lock()
			got := slices.Clone(n.state.list)
			n.state.mu.Unlock()
			if !slices.Equal(got, committed) {
				t.Fatalf("round %d: %d commands, want %d", round, len(got), len(committed))
			}
			for i := range 60 {
				cmd := fmt.Sprintf("%d.%d", round, i)
				if err := n.raft.Apply([]byte(cmd), time.Minute).Error(); err != nil {
					t.Fatal(err)
				}
				committed = append(committed, cmd)
			}
			if round%2 == 1 {
				if err := n.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
			lost := fs.Crash()
			n.stop(t)
			fs = lost
		}
	})
}
