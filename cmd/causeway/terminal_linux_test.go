package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives both ends of a pseudo-terminal: a person's and the program's.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// answer types a line at each prompt and gives everything the terminal showed.
func answer(t *testing.T, ctx context.Context, types ...string) (password []byte, shown string, err error) {
	t.Helper()
	person, program := openTerminal(t)
	type result struct {
		password []byte
		err      error
	}
	done := make(chan result, 1)
	go func() {
		password, err := readPassword(ctx, stdio{in: program, err: program})
		program.WriteString("end\n")
		done <- result{password, err}
	}()
	var screen bytes.Buffer
	in := bufio.NewReader(person)
	for _, text := range types {
		for !strings.HasSuffix(screen.String(), ": ") {
			b, err := in.ReadByte()
			if err != nil {
				t.Fatal(err)
			}
			screen.WriteByte(b)
		}
		screen.WriteByte('|') // so that the next prompt is waited for
		if _, err := person.WriteString(text + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	for !strings.Contains(screen.String(), "end") {
		b, err := in.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		screen.WriteByte(b)
	}
	r := <-done
	if state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || state.Lflag&unix.ECHO == 0 {
		t.Errorf("the echo is not back on: %v", err)
	}
	return r.password, screen.String(), r.err
}

func TestPassword_IsNotShown(t *testing.T) {
	password, shown, err := answer(t, t.Context(), "secret", "secret")
	if err != nil || string(password) != "secret" {
		t.Errorf("got %q, %v", password, err)
	}
	if strings.Contains(shown, "secret") || !strings.Contains(shown, "Password: ") || !strings.Contains(shown, "Again: ") {
		t.Errorf("the terminal showed %q", shown)
	}
}

func TestPassword_TypedTwice(t *testing.T) {
	if _, _, err := answer(t, t.Context(), "secret", "secert"); err == nil || !strings.Contains(err.Error(), "differ") {
		t.Errorf("got %v", err)
	}
}

// Ctrl-C at the prompt: the echo comes back on.
func TestPassword_Interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := answer(t, ctx); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
}
