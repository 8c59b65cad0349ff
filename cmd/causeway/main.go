package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run())
}

// run is main without the exit.
func run() int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	return execute(ctx, os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Environ()})
}

// withSignals cancels the context at the first SIGINT or SIGTERM. Before it does, the signals get
// their default action back, so a second one ends the process at once.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, stop = context.WithCancel(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		stop()
	}()
	return ctx, stop
}

// stdio is what a command has of the process, so that a test can bring its own.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
	env []string
}

// execute runs one command line and gives the exit code.
func execute(ctx context.Context, args []string, std stdio) int {
	root := newRoot(std)
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	ran := markRuns(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !*ran {
		// cobra's own errors: flags, arguments, unknown commands.
		err = usageError(cmd, err)
	}
	return report(std.err, err)
}
