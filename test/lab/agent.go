package lab

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// agent is a thread in a namespace. It lives as long as the test: a thread that ends
// takes along the processes that it started with Pdeathsig, and a goroutine cannot
// know who used its thread before. So there is one, and not one for each call.
type agent struct {
	mu    sync.Mutex // one call at a time
	calls chan func() error
	done  chan error
}

func newAgent(t testing.TB, namespace string) *agent {
	t.Helper()
	a := &agent{calls: make(chan func() error), done: make(chan error)}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in here
		err := enter(namespace)
		entered <- err
		if err != nil {
			return
		}
		for fn := range a.calls {
			a.done <- fn()
		}
	}()
	if err := <-entered; err != nil {
		t.Fatalf("enter the namespace %s: %v", namespace, err)
	}
	t.Cleanup(func() { close(a.calls) })
	return a
}

func enter(namespace string) error {
	f, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns: %w", err)
	}
	return nil
}

// do runs fn in the namespace. Sockets that it opens may be used anywhere.
func (a *agent) do(fn func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls <- fn
	return <-a.done
}
