package broker

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"causeway/internal/home"
)

const (
	flushAt   = 32 << 10 // bytes gathered for one write
	apart     = 8 << 10  // payloads from here on are written from where they are
	roundSize = 64       // messages taken at a time
)

// drain sends what there is to send and ends when there is nothing. There is one at a time a connection; it alone
// writes to the socket.
func (c *conn) drain() {
	defer c.s.conns.Done()
	w := writers.Get().(*writer)
	w.c = c
	defer w.free()
	ended := false
	defer func() {
		if !ended { // a panic: guard, which runs next, has the connection closed without another drain
			_ = c.sock.Close()
		}
	}()
	defer c.guard()
	runtime.Gosched() // whoever woke us may have more: one write for all
	for last := false; !last; {
		do := c.nextRound(w)
		if err := w.round(do); err != nil {
			c.writeFailed(err)
			break
		}
		last = do.last
	}
	ended = true
}

// writeFailed closes the connection. draining stays set: nobody writes any more.
func (c *conn) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.shut(EndSlow, 0, "")
	} else {
		c.shut(EndGone, 0, "")
	}
	_ = c.sock.Close()
	c.fallSilent()
}

func (c *conn) fallSilent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}

// work is what one round of the drain goroutine does.
type work struct {
	items []item   // messages from memory
	ids   []uint16 // their packet ids; 0 at QoS 0
	pull  int      // references to take from the home's queue, at most
	close bool     // everything was written: half-close
	last  bool     // nothing is left to do
}

// nextRound takes control packets and messages, as many as the device's window allows, and reserves their places in it.
func (c *conn) nextRound(w *writer) (do work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctrl != nil {
		w.buf().b = append(w.buf().b, c.ctrl.b...)
		giveBack(c.ctrl)
		c.ctrl = nil
		if !c.full() {
			c.releaseReader()
		}
	}
	if c.closing {
		do.close, do.last = true, true
		return do
	}
	room := c.window - len(c.win) - len(c.local) - c.skipping
	if c.more && room > 0 && !c.leaving.Load() && c.clearTo == 0 {
		c.more = false
		do.pull = min(room, roundSize)
		room -= do.pull
	}
	do.items, do.ids = w.items[:0], w.ids[:0]
	for c.mem0.len() > 0 && len(do.items) < roundSize {
		do.items, do.ids = append(do.items, c.take(&c.mem0)), append(do.ids, 0)
	}
	// Messages in the queue are older than those of the same publisher in memory: a RETAIN put them there.
	for ; c.memN.len() > 0 && room > 0 && !c.more && do.pull == 0 && len(do.items) < 2*roundSize; room-- {
		do.items, do.ids = append(do.items, c.take(&c.memN)), append(do.ids, c.newLocalID())
	}
	w.items, w.ids = do.items, do.ids
	if len(do.items) == 0 && do.pull == 0 && w.empty() {
		c.draining, do.last = false, true
	}
	return do
}

// writer gathers packets and writes them. It belongs to one drain goroutine.
type writer struct {
	c     *conn
	b     *buffer
	items []item
	ids   []uint16
	refs  []home.Queued

	messages bool // what was gathered has some, or a PUBREL of the queue's
}

func (w *writer) buf() *buffer {
	if w.b == nil {
		w.b = borrow(0)
	}
	return w.b
}

func (w *writer) empty() bool { return w.b == nil || len(w.b.b) == 0 }

var writers = sync.Pool{New: func() any { return &writer{} }}

func (w *writer) free() {
	giveBack(w.b)
	clear(w.items)
	clear(w.refs)
	*w = writer{items: w.items[:0], ids: w.ids[:0], refs: w.refs[:0]}
	writers.Put(w)
}

// round encodes and writes what nextRound took.
func (w *writer) round(do work) error {
	if do.pull > 0 {
		if err := w.pull(do.pull); err != nil {
			return err
		}
	}
	now := w.c.clockFor(do.items)
	for i := range do.items {
		it := &do.items[i]
		sent, err := w.publish(outgoing{
			msg: it.msg, subs: it.subs, qos: it.qos, retain: it.retain, id: do.ids[i], now: now,
		})
		if err != nil {
			return err
		}
		if sent != sentOK {
			w.c.dropped(it, do.ids[i], sent)
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if do.close {
		w.c.fallSilent()
		w.c.halfClose()
	}
	return nil
}

// dropped counts a message from memory that could not be sent, and frees its packet id.
func (c *conn) dropped(it *item, id uint16, why sentResult) {
	d := DropMemoryExpired
	if why == sentTooLarge {
		d = DropMemoryTooLarge
	}
	c.s.stats.drop(d, 1)
	if id != 0 {
		c.mu.Lock()
		delete(c.local, id)
		c.mu.Unlock()
	}
}

// clockFor asks for home time only if something can expire.
func (c *conn) clockFor(items []item) home.Time {
	for i := range items {
		if items[i].msg.Expires != 0 {
			return c.house.home.Now()
		}
	}
	return 0
}

// speaks waits, before messages are written, until this node may speak for its sessions: until then another one may have
// them. [C1]
func (w *writer) speaks() error {
	if w.messages && !w.c.house.home.Fresh() && !w.c.fresh() {
		return errClosing
	}
	w.messages = false
	return nil
}

// flush writes what was gathered.
func (w *writer) flush() error {
	if w.empty() {
		return nil
	}
	if err := w.speaks(); err != nil {
		return err
	}
	w.c.armWrite()
	n, err := w.c.nc.Write(w.b.b)
	w.c.s.stats.BytesOut.Add(int64(n))
	w.c.bytesOut.Add(int64(n))
	giveBack(w.b)
	w.b = nil
	return err
}

// flushWith writes what was gathered and a payload behind it, without copying the payload.
func (w *writer) flushWith(payload []byte) error {
	if err := w.speaks(); err != nil {
		return err
	}
	w.c.armWrite()
	v := net.Buffers{w.b.b, payload}
	n, err := v.WriteTo(w.c.nc)
	w.c.s.stats.BytesOut.Add(n)
	w.c.bytesOut.Add(n)
	w.b.b = w.b.b[:0]
	return err
}

// armWrite gives the next write its deadline. It is moved only when half of it is gone: setting it costs as much as a
// small write's encoding.
func (c *conn) armWrite() {
	now, limit := c.s.now(), instant(c.s.opt.WriteTimeout)
	if c.writeArmed-now > limit/2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return // shut has set the last deadline
	}
	c.writeArmed = now + limit
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.s.opt.WriteTimeout))
}
