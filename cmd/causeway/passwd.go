package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"
)

// maxPassword is what bcrypt takes into account; a longer one would be cut in silence elsewhere.
const maxPassword = 72 // bytes

func newPasswd(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "passwd USER",
		Short: "Add, change or delete a user of the password file",
		Long: `Sets the password of a user in the file that auth.password_file names, or takes
the user out of it (--delete). The password is asked for without echo, or read
as one line from standard input if that is no terminal. The file holds
user:bcrypt lines, is written whole or not at all, and keeps its owner, mode,
order and comments. A running node takes the change up when it reloads.`,
		Example: `  causeway passwd --file users eve
  printf '%s\n' "$SECRET" | causeway passwd --file users eve
  causeway passwd --file users --delete eve`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("want one USER: causeway passwd --file users eve")
			}
			return nil
		},
	}
	file := cmd.Flags().StringP("file", "f", "", "password `file` (required)")
	_ = cmd.MarkFlagFilename("file") // the flag was defined a line above
	remove := cmd.Flags().Bool("delete", false, "take the user out of the file")
	cost := cmd.Flags().Int("cost", bcrypt.DefaultCost, "bcrypt `cost`, 4 to 31; each step doubles the time of a login")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *file == "":
			return usageError(cmd, errors.New("--file is missing: name the password file"))
		case *cost < bcrypt.MinCost || *cost > bcrypt.MaxCost:
			return usageError(cmd, fmt.Errorf("--cost %d: want %d to %d", *cost, bcrypt.MinCost, bcrypt.MaxCost))
		}
		if err := checkUser(args[0]); err != nil {
			return usageError(cmd, err)
		}
		done, err := setPassword(cmd.Context(), std, *file, args[0], *remove, *cost)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s in %s\n", done, args[0], *file)
		return err
	}
	return cmd
}

// setPassword does what the command says and names it in one word.
func setPassword(ctx context.Context, std stdio, file, user string, remove bool, cost int) (string, error) {
	if remove {
		return editPasswords(file, user, "")
	}
	password, err := readPassword(ctx, std)
	if err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword(password, cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return editPasswords(file, user, string(hash))
}

// checkUser refuses names that the file could not hold.
func checkUser(user string) error {
	switch {
	case user == "":
		return errors.New("the user has no name")
	case strings.HasPrefix(user, "#"):
		return fmt.Errorf("user %q: a line that begins with # is a comment", user)
	case strings.TrimSpace(user) != user || strings.ContainsAny(user, "\r\n\x00"):
		return fmt.Errorf("user %q: spaces at the ends and line breaks cannot be kept in the file", user)
	case len(user) > 65535:
		return errors.New("the user's name is longer than the 65535 bytes a CONNECT can carry") // [MQTT-1.5.4]
	}
	return nil
}

// readPassword asks a terminal twice without echo, and reads one line of anything else.
func readPassword(ctx context.Context, std stdio) ([]byte, error) {
	password, err := typedPassword(ctx, std)
	if err != nil {
		return nil, err
	}
	switch {
	case len(password) == 0:
		return nil, errors.New("the password is empty; type one, or give it as a line on standard input")
	case len(password) > maxPassword:
		return nil, fmt.Errorf("the password has %d bytes, and bcrypt looks at %d only; choose a shorter one", len(password), maxPassword)
	}
	return password, nil
}

func typedPassword(ctx context.Context, std stdio) ([]byte, error) {
	f, ok := std.in.(*os.File)
	if !ok || !isTerminal(f) {
		return readLine(bufio.NewReader(std.in))
	}
	restore, err := hideTyping(f)
	if err != nil {
		return nil, fmt.Errorf("switch the echo of the terminal off: %w; give the password on standard input instead", err)
	}
	defer restore()
	in := bufio.NewReader(f)
	first, err := ask(ctx, std.err, in, "Password: ")
	if err != nil {
		return nil, err
	}
	second, err := ask(ctx, std.err, in, "Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

// ask reads one line of a terminal; the end of ctx, Ctrl-C, ends the wait so that the echo comes
// back on.
func ask(ctx context.Context, w io.Writer, in *bufio.Reader, prompt string) ([]byte, error) {
	fmt.Fprint(w, prompt)
	defer fmt.Fprintln(w)
	type line struct {
		text []byte
		err  error
	}
	got := make(chan line, 1)
	go func() {
		text, err := readLine(in)
		got <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		return nil, errors.New("interrupted; nothing was changed")
	case l := <-got:
		return l.text, l.err
	}
}

// readLine reads up to a line break or the end, bounded: more is no password.
func readLine(in *bufio.Reader) ([]byte, error) {
	text, err := in.ReadSlice('\n') // at most the reader's buffer
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read password: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	return bytes.Clone(text), nil
}
