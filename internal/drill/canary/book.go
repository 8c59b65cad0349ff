package canary

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"causeway/internal/drill"
	"causeway/internal/load"
)

// book is the ledger as it is written.
type book struct {
	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	next int
	err  error // the first
}

func newBook(name string) (*book, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin the canaries' ledger: %w", err)
	}
	return &book{file: f, out: bufio.NewWriterSize(f, 64<<10)}, nil
}

func (b *book) write(e drill.Entry) {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = b.out.Write(append(line, '\n'))
	}
	if b.err == nil {
		b.err = err
	}
}

// canary enters a device, and numbers it.
func (b *book) canary(c drill.Canary) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.Device = b.next
	b.next++
	b.write(drill.Entry{Canary: &c})
	return c.Device
}

func (b *book) add(e drill.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write(e)
}

var words = map[load.What]string{load.Sent: drill.SawSent, load.Acked: drill.SawAck, load.Arrived: drill.SawArrival, load.Connected: drill.SawConnect, load.Lost: drill.SawLoss}

func (b *book) saw(device int, s load.Seen) {
	b.add(drill.Entry{At: s.At.UnixNano(), Saw: words[s.What], Device: device, Stream: s.Stream, N: s.N, Present: s.Present})
}

func (b *book) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.out.Flush(); b.err == nil {
		b.err = err
	}
}

func (b *book) close() error {
	b.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	err := errors.Join(b.err, b.file.Sync(), b.file.Close())
	if err != nil {
		return fmt.Errorf("write the canaries' ledger: %w", err)
	}
	return nil
}
