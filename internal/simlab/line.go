package simlab

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// line is a device's connection with a node: two pipes and, between them, who
// carries bytes from one to the other after a while, in order. When it is cut,
// what is on the way is lost, as an acknowledgement may be.
type line struct {
	ends  [4]net.Conn // device, its pipe's other end, the node's pipe's other end, node
	delay func() time.Duration
	lost  atomic.Bool // what is on the way gets nowhere
	once  sync.Once
	done  chan struct{}
	wg    sync.WaitGroup
}

func newLine(delay func() time.Duration) *line {
	l := &line{delay: delay, done: make(chan struct{})}
	l.ends[0], l.ends[1] = net.Pipe()
	l.ends[2], l.ends[3] = net.Pipe()
	l.wg.Go(func() { l.carry(l.ends[2], l.ends[1]) })
	l.wg.Go(func() { l.carry(l.ends[1], l.ends[2]) })
	return l
}

func (l *line) device() net.Conn { return l.ends[0] }
func (l *line) node() net.Conn   { return l.ends[3] }

// carry ends with either pipe.
func (l *line) carry(to, from net.Conn) {
	defer l.cut()
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if err != nil || !l.wait() {
			return
		}
		if l.lost.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// wait is the time on the wire. It reports false when the line was cut.
func (l *line) wait() bool {
	t := time.NewTimer(l.delay())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.done:
		return false
	}
}

// lose carries nothing any more, and cuts the line after a while.
func (l *line) lose(cutIn time.Duration) {
	l.lost.Store(true)
	time.AfterFunc(cutIn, l.cut)
}

// cut breaks the line at once. It does not block.
func (l *line) cut() {
	l.once.Do(func() {
		close(l.done)
		for _, c := range l.ends {
			_ = c.Close()
		}
	})
}
