package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"causeway/internal/load"
)

// What goes on at the surviving region meanwhile.
const (
	calmPairs = 50
	calmRate  = 500
)

// established are devices that a region serves while a fleet comes to it. They are a process of their own: in that of the
// fleet they would wait for its thousands of goroutines, too, and its garbage.
type established struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// waited is what the established devices waited for in a while, and by how much their own process was woken too late: that
// much of it is the machine's.
type waited struct{ P50, P99, P999, Late50, Late99 time.Duration }

// establish starts the process, and returns once its devices are served.
func establish(ctx context.Context, name string, addrs []string) (*established, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &established{cmd: exec.CommandContext(ctx, self, "-established", name+"="+strings.Join(addrs, ","))}
	e.cmd.Stderr = os.Stderr
	if e.in, err = e.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	e.out = json.NewDecoder(out)
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := e.since(); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// since is what was waited for since it was called last.
func (e *established) since() (w waited, err error) {
	if _, err = io.WriteString(e.in, "\n"); err == nil {
		err = e.out.Decode(&w)
	}
	if err != nil {
		err = fmt.Errorf("the established devices: %w", err)
	}
	return w, err
}

func (e *established) stop() {
	_ = e.in.Close()
	_ = e.cmd.Wait() // what went wrong is on stderr
}

// runEstablished is that process: for each line it says what was waited for since the last.
func runEstablished(ctx context.Context, arg string) error {
	name, addrs, _ := strings.Cut(arg, "=")
	calm, err := load.Pairs{Name: name, Addrs: strings.Split(addrs, ","), N: calmPairs, QoS: 1, Window: 16, Payload: 256, Rate: calmRate}.Start(ctx)
	if err != nil {
		return err
	}
	defer calm.Stop()
	calm.Go()
	late := wakeUps(ctx)
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		h := calm.Latency()
		l := late()
		calm.MeasureFrom(time.Now())
		w := waited{P50: h.Quantile(0.5), P99: h.Quantile(0.99), P999: h.Quantile(0.999), Late50: l.Quantile(0.5), Late99: l.Quantile(0.99)}
		if err := out.Encode(w); err != nil {
			return err
		}
	}
	return nil
}

// wakeUps measures how late a goroutine that sleeps is woken; the function returns that of since it was called last.
func wakeUps(ctx context.Context) func() load.Histogram {
	const every = 2 * time.Millisecond
	var mu sync.Mutex
	var late load.Histogram
	go func() {
		for due := time.Now().Add(every); wait(ctx, time.Until(due)); due = time.Now().Add(every) {
			mu.Lock()
			late.Add(time.Since(due))
			mu.Unlock()
		}
	}()
	return func() (h load.Histogram) {
		mu.Lock()
		defer mu.Unlock()
		h, late = late, load.Histogram{}
		return h
	}
}
