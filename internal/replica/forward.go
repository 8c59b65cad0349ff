package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// forwarder takes this node's entries to the leader: one way, without an answer.
// What came of an entry is known by its being applied here. [A2]
type forwarder struct {
	r *Replica

	mu     turn
	to     home.NodeID
	stream *cluster.Stream
	w      *bufio.Writer
	buf    []byte

	using atomic.Pointer[forwarding] // stream and to, for those who cannot wait for their turn
}

type forwarding struct {
	*cluster.Stream
	to home.NodeID
}

// turnTo ends what is being written to another node than the leader: a node that
// is gone without a word may take nothing for as long as sendTimeout.
func (f *forwarder) turnTo(leader home.NodeID) {
	if u := f.using.Load(); u != nil && u.to != leader {
		_ = u.SetDeadline(time.Unix(1, 0))
	}
}

// sendTimeout bounds the writing of one batch to the leader. A leader that takes
// nothing for so long is as good as gone; the next try opens a new stream.
const sendTimeout = 5 * time.Second

// send implements sender. It may block for up to sendTimeout.
func (f *forwarder) send(entries []home.Entry) {
	if f.r.role.leads() {
		f.r.role.take(entries)
		return
	}
	f.mu.lock()
	defer f.mu.unlock()
	leader, ok := f.r.Leader()
	if !ok || leader == f.r.opts.Node || f.r.opts.Cluster == nil {
		return // the next leader gets them
	}
	if err := f.sendTo(leader, entries); err != nil {
		f.drop()
		f.r.log.Debug("forward to the leader", "leader", leader, "error", err)
		f.r.resendSoon()
	}
}

func (f *forwarder) sendTo(leader home.NodeID, entries []home.Entry) error {
	if err := f.dial(leader); err != nil {
		return err
	}
	if err := f.stream.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if now, ok := f.r.Leader(); ok && now != leader { // and turnTo came before the deadline
		return ErrNotLeader
	}
	for i := range entries {
		f.buf = entries[i].Append(f.buf[:0])
		var head [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(head[:], uint64(len(f.buf)))
		if _, err := f.w.Write(head[:n]); err != nil {
			return err
		}
		if _, err := f.w.Write(f.buf); err != nil {
			return err
		}
	}
	if cap(f.buf) > 1<<20 {
		f.buf = nil
	}
	return f.w.Flush()
}

// dial opens the stream to the leader, unless there is one.
func (f *forwarder) dial(leader home.NodeID) error {
	if f.stream != nil && f.to == leader {
		return nil
	}
	f.drop()
	ctx, cancel := context.WithTimeout(context.Background(), dialMost)
	defer cancel()
	st, err := f.r.dialLog(ctx, leader, purposeEntries)
	if err != nil {
		return err
	}
	f.stream, f.to, f.w = st, leader, bufio.NewWriterSize(st, 64<<10)
	f.using.Store(&forwarding{st, leader})
	// The leader says nothing on this stream: reading ends when it is gone, which
	// a writer would learn only with its next entry.
	go func() {
		_, _ = io.Copy(io.Discard, st)
		f.ended(st)
	}()
	return nil
}

// ended hears that a stream was closed at the other end.
func (f *forwarder) ended(st *cluster.Stream) {
	f.mu.lock()
	defer f.mu.unlock()
	if f.stream == st {
		f.drop()
		f.r.resendSoon()
	}
}

// drop lets go of the stream. Closing it may take a while, since it says goodbye.
// Guarded by mu.
func (f *forwarder) drop() {
	if st := f.stream; st != nil {
		go func() { _ = st.Close() }()
	}
	f.stream, f.w = nil, nil
	f.using.Store(nil)
}

func (f *forwarder) close() {
	f.mu.lock()
	defer f.mu.unlock()
	f.drop()
}

// takeEntries is the leader's end of a proposer's stream.
func (r *core) takeEntries(st *cluster.Stream) error {
	in := bufio.NewReaderSize(st, 64<<10)
	for {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return ignoreEnd(err)
		}
		if n > raftMaxEntry {
			return fmt.Errorf("an entry of %d bytes; the limit is %d", n, raftMaxEntry)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return ignoreEnd(err)
		}
		ops, err := r.vet(b, home.NodeID(st.Peer.Node))
		if err != nil {
			return err
		}
		if !r.merger.add(b, ops) {
			return nil // whoever leads now is told by raft
		}
	}
}

// vet checks an entry before it goes into the log, where one that cannot be
// applied would stop every copy: that it decodes, that its node speaks for
// itself only, and that all copies know its operations.
func (r *core) vet(b []byte, node home.NodeID) (ops []home.Op, err error) {
	e, err := home.DecodeEntry(b)
	if err != nil {
		return nil, err
	}
	if e.Owner.Node != node {
		return nil, fmt.Errorf("an entry of %s came from %s", e.Owner, node)
	}
	level := r.state.Level()
	for _, op := range e.Ops {
		if need := home.LevelOf(op.Kind()); need > level {
			return nil, fmt.Errorf("operation kind %d needs feature level %d, the home is at %d", op.Kind(), need, level)
		}
	}
	return e.Ops, nil
}

// ignoreEnd drops the error of a stream that ended, for whatever reason the
// network had.
func ignoreEnd(err error) error {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, os.ErrDeadlineExceeded} {
		if errors.Is(err, end) {
			return nil
		}
	}
	return err
}
