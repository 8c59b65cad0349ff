package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// passwords reads user:bcrypt lines as a node does.
func passwords(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if user := lineUser(line); user != "" {
			users[user] = strings.TrimSpace(line)[len(user)+1:]
		}
	}
	return users
}

func setTo(t *testing.T, file, user, password string) {
	t.Helper()
	if code, _, err := command(t, password+"\n", nil, "passwd", "--file", file, "--cost", "4", user); code != 0 {
		t.Fatal(err)
	}
}

func TestPasswd_AddChangeDelete(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	setTo(t, file, "eve", "first")
	setTo(t, file, "adam:b", "apple") // a colon may be in a name, never in a hash
	setTo(t, file, "eve", "second")
	users := passwords(t, file)
	for user, want := range map[string]string{"eve": "second", "adam:b": "apple"} {
		if err := bcrypt.CompareHashAndPassword([]byte(users[user]), []byte(want)); err != nil {
			t.Errorf("%s with %q: %v", user, want, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if code, out, err := command(t, "", nil, "passwd", "--file", file, "--delete", "eve"); code != 0 || !strings.HasPrefix(out, "deleted eve") {
		t.Errorf("delete: %d, %s%s", code, out, err)
	}
	if users := passwords(t, file); len(users) != 1 || users["adam:b"] == "" {
		t.Errorf("left: %v", users)
	}
}

// What people wrote into the file by hand stays, and so do its mode and the link to it.
func TestPasswd_KeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "users"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("# the plant\n\neve:$2a$04$x\n# bob:gone\nzoe:$2a$04$y"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	setTo(t, link, "eve", "secret")
	setTo(t, link, "bob", "secret")
	users := passwords(t, file)
	want := "# the plant\n\neve:" + users["eve"] + "\n# bob:gone\nzoe:$2a$04$y\nbob:" + users["bob"] + "\n"
	if got, _ := os.ReadFile(file); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link became a file")
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("the folder holds %v", left)
	}
}

// Of edits at the same time none is lost.
func TestPasswd_ConcurrentEdits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := editPasswords(file, fmt.Sprintf("user%d", i), "$2a$04$x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if users := passwords(t, file); len(users) != 20 {
		t.Errorf("%d users of 20", len(users))
	}
}

func TestPasswd_Refuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "users")
	for _, tc := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		want  string
	}{
		{"no file", "x\n", []string{"eve"}, exitUsage, "--file is missing"},
		{"no user", "x\n", []string{"--file", file, ""}, exitUsage, "no name"},
		{"comment as user", "x\n", []string{"--file", file, "#eve"}, exitUsage, "is a comment"},
		{"line break in user", "x\n", []string{"--file", file, "a\nb"}, exitUsage, "line breaks"},
		{"cost", "x\n", []string{"--file", file, "--cost", "32", "eve"}, exitUsage, "want 4 to 31"},
		{"no password", "", []string{"--file", file, "eve"}, exitFailed, "password is empty"},
		{"empty password", "\n", []string{"--file", file, "eve"}, exitFailed, "password is empty"},
		{"long password", strings.Repeat("x", 73) + "\n", []string{"--file", file, "eve"}, exitFailed, "73 bytes"},
		{"endless password", strings.Repeat("x", 1<<20), []string{"--file", file, "eve"}, exitFailed, "read password"},
		{"no folder", "x\n", []string{"--file", filepath.Join(dir, "no", "users"), "--cost", "4", "eve"}, exitFailed, "make the folder"},
		{"folder as file", "x\n", []string{"--file", dir, "--cost", "4", "eve"}, exitFailed, "plain file"},
		{"unknown user", "", []string{"--file", file, "--delete", "eve"}, exitRefused, "nothing was changed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, err := command(t, tc.stdin, nil, append([]string{"passwd"}, tc.args...)...)
			if code != tc.code || !strings.Contains(err, tc.want) {
				t.Errorf("%d, %s; want %d, %q", code, err, tc.code, tc.want)
			}
		})
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("refused commands left %v", left)
	}
}
