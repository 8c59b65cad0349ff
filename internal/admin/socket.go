package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is the longest path the kernel takes for a Unix socket (sun_path with its NUL).
const maxSocketPath = 107

// socketDir is the pattern of the directory a socket is born in.
const socketDir = ".sock*"

// listenSocket listens on a Unix socket at path that only its owner may open. A socket nobody
// answers at is replaced; one that somebody answers at, and anything else of that name, is left
// alone and is an error.
//
// The socket may be up before the node has a data directory (it tells how the start goes), so a
// folder that is not there yet is made, for its owner only.
func listenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	if err := claim(path); err != nil {
		return nil, err
	}
	// Between bind and chmod a socket has the mode the umask leaves it, so it is born where only
	// we can enter and moved when its mode is right.
	dir, err := os.MkdirTemp(filepath.Dir(path), socketDir)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	born := filepath.Join(dir, "s")
	if n := max(len(path), len(born)); n > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path is %d bytes too long for a Unix socket; set admin.socket to a shorter one",
			path, n-maxSocketPath)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: born, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	s := &socket{UnixListener: l, path: path}
	if err := s.settle(born); err != nil {
		_ = l.Close() // never served; the directory goes with what is in it
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return s, nil
}

// claim makes sure that nobody is to be driven from path.
func claim(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("admin socket %s: something that is not a socket is there; move it away, or set admin.socket", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close() // it was asked for nothing
		return fmt.Errorf("admin socket %s: another node answers there; stop it, or give this node a data_dir of its own", path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil // left by a node that was killed; the rename replaces it
	}
	return fmt.Errorf("admin socket %s: cannot tell whether another node answers there: %w", path, err)
}

// socket removes its path when it closes, if it is still its own.
type socket struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

// settle gives the socket its mode and its name.
func (s *socket) settle(born string) (err error) {
	if err = os.Chmod(born, 0o600); err != nil {
		return err
	}
	if err = os.Rename(born, s.path); err != nil {
		return err
	}
	s.info, err = os.Lstat(s.path)
	return err
}

// Close stops listening and removes the socket from the directory.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if info, e := os.Lstat(s.path); e == nil && os.SameFile(info, s.info) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}
