package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes, the same for every command.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3 // by a precondition: doing it would destroy or contradict what is there
	exitMissed  = 4 // a goal was missed, or not reached in time
	exitAborted = 5 // given up by a guardrail, with everything as before
	exitPartly  = 6 // begun; the rest follows, or can be resumed
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError says that the command line was wrong and where its help is.
func usageError(cmd *cobra.Command, err error) error {
	return &exitError{exitUsage, fmt.Errorf("%w\nSee: %s --help", err, cmd.CommandPath())}
}

// refusal gives errors about files that are in the way the exit code of a precondition.
func refusal(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return &exitError{exitRefused, err}
	}
	return err
}

// report writes the error, if any, and gives the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	text := err.Error()
	if lines := strings.Split(text, "\n"); len(lines) > 1 {
		text = strings.Join(lines, "\n  ")
	}
	fmt.Fprintf(w, "causeway: %s\n", text)
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// markRuns wraps every command so that it is known whether one began: an error before that is
// about the command line.
func markRuns(root *cobra.Command) *bool {
	ran := new(bool)
	var mark func(*cobra.Command)
	mark = func(cmd *cobra.Command) {
		if runE := cmd.RunE; runE != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				*ran = true
				return runE(cmd, args)
			}
		}
		for _, sub := range cmd.Commands() {
			mark(sub)
		}
	}
	mark(root)
	return ran
}
