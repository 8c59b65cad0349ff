//go:build !linux

package main

import (
	"errors"
	"os"
)

// isTerminal reports whether somebody types into f.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// hideTyping is not known for this system: a password that shows on the screen is refused.
func hideTyping(*os.File) (restore func(), err error) {
	return nil, errors.ErrUnsupported
}
