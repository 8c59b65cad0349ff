package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running serves until the test ends.
func running(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func remote(t *testing.T, a Address) *Remote {
	t.Helper()
	r, err := NewRemote(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func version(r *Remote) error {
	_, err := r.Call(context.Background(), "GET", "", "/v1/version", nil, nil)
	return err
}

func TestSocket_ServesItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "admin.sock") // the first start of a node: no folder yet
	s := fixture(t, newFake(), func(o *Options) { o.Socket = path })
	running(t, s)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".sock*")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	r := remote(t, Address{Socket: path})
	if _, err := r.Call(t.Context(), "DELETE", "clients", Path("clients", "cars", "a/b"), nil, nil); err != nil {
		t.Error(err)
	}
	// A second node with the same directory is told so, and the first goes on.
	other := fixture(t, newFake(), func(o *Options) { o.Socket = path })
	if err := other.Listen(); err == nil || !strings.Contains(err.Error(), "another node answers there") {
		t.Errorf("the second node: %v", err)
	}
	if err := version(r); err != nil {
		t.Error(err)
	}
}

func TestSocket_GoesWithTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	s := fixture(t, newFake(), func(o *Options) { o.Socket = path })
	for range 2 { // a supervisor starts it again
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	}
}

// A node that was killed leaves its socket behind; the next one takes its place.
func TestSocket_StaleOneIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	running(t, fixture(t, newFake(), func(o *Options) { o.Socket = path }))
	if err := version(remote(t, Address{Socket: path})); err != nil {
		t.Error(err)
	}
}

func TestSocket_WhatIsNoneIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := fixture(t, newFake(), func(o *Options) { o.Socket = path }).Listen()
	if err == nil || !strings.Contains(err.Error(), "something that is not a socket is there") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Error("the file is gone")
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	err = fixture(t, newFake(), func(o *Options) { o.Socket = long }).Listen()
	if err == nil || !strings.Contains(err.Error(), "too long for a Unix socket; set admin.socket") {
		t.Errorf("%v", err)
	}
}

// A successor that took the path over keeps it when the predecessor closes late.
func TestSocket_CloseLeavesASuccessorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	first, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	second, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// tokenFile writes a token a role and returns the path and the tokens by role.
func tokenFile(t *testing.T) (string, map[string]string) {
	t.Helper()
	lines, by := "# who may call\n\n", map[string]string{}
	for _, role := range []Role{RoleViewer, RoleOperator, RoleAdmin} {
		token, line, err := NewToken("ops-"+role.String(), role)
		if err != nil {
			t.Fatal(err)
		}
		lines, by[role.String()] = lines+line+" # until May\n", token
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, by
}

// Each route admits its role and the ones above it, and nobody else.
func TestTCP_RolesPerRoute(t *testing.T) {
	path, tokens := tokenFile(t)
	s := fixture(t, newFake(), func(o *Options) { o.Listen, o.Tokens = "127.0.0.1:0", path })
	running(t, s)
	base := "http://" + s.Addr(EndpointTCP).String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	fill := strings.NewReplacer("{namespace}", "cars", "{client_id}", "car-1", "{peer}", "us", "{topic}", "fleet%2Fa", "{name}", "ci")
	for _, r := range newAPI(s).routes() {
		for have, token := range map[string]string{"nobody": "", "stranger": "cwy_x", "viewer": tokens["viewer"], "operator": tokens["operator"], "admin": tokens["admin"]} {
			role, _ := parseRole(have)
			want := "in"
			if role < r.role {
				want = "403"
				if role == RoleNone {
					want = "401"
				}
			}
			req, err := http.NewRequest(r.method, base+fill.Replace(r.path)+"?dry_run=true&topic=a", nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got := "in"
			switch resp.StatusCode {
			case 401:
				if got = "401"; resp.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: 401 without a challenge", r.path)
				}
			case 403:
				got = "403"
			}
			if got != want {
				t.Errorf("%s %s as %s: %d, want %s", r.method, r.path, have, resp.StatusCode, want)
			}
		}
	}
}

// docs/roles.md has each route with the role it needs.
func TestRoles_AreWrittenDown(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "roles.md"))
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\| (\\w+) \\| \\S").FindAllStringSubmatch(string(b), -1) {
		written[m[1]] = m[2]
	}
	for _, r := range newAPI(fixture(t, newFake())).routes() {
		name := r.method + " " + r.path
		if written[name] != r.role.String() {
			t.Errorf("%s needs %s, and docs/roles.md says %q", name, r.role, written[name])
		}
		delete(written, name)
	}
	for name := range written {
		t.Errorf("docs/roles.md has %s, which is not served", name)
	}
}

// Payloads are the devices' data: a viewer sees the queue without them.
func TestTCP_PayloadsNeedTheOperator(t *testing.T) {
	path, tokens := tokenFile(t)
	s := fixture(t, newFake(), func(o *Options) { o.Listen, o.Tokens = "127.0.0.1:0", path })
	running(t, s)
	for role, status := range map[string]int{"viewer": 403, "operator": 0} {
		r := remote(t, Address{URL: "http://" + s.Addr(EndpointTCP).String(), Token: tokens[role]})
		_, err := r.Call(t.Context(), "GET", "sessions", Path("sessions", "cars", "car-1", "queue"), map[string][]string{"payload": {"true"}}, nil)
		var p *Problem
		if errors.As(err, &p) != (status != 0) || p != nil && p.Status != status {
			t.Errorf("%s: %v", role, err)
		}
	}
}

// The node lists a place that is named with its own rights, to whatever machine a URL leads: that is the admin's.
func TestTCP_OtherPlacesOfBackupsNeedTheAdmin(t *testing.T) {
	path, tokens := tokenFile(t)
	s := fixture(t, newFake(), func(o *Options) { o.Listen, o.Tokens = "127.0.0.1:0", path })
	running(t, s)
	for role, status := range map[string]int{"operator": 403, "admin": 0} {
		r := remote(t, Address{URL: "http://" + s.Addr(EndpointTCP).String(), Token: tokens[role]})
		if _, err := r.Call(t.Context(), "GET", "backups", Path("backups"), nil, nil); err != nil {
			t.Errorf("%s, the configured place: %v", role, err)
		}
		for method, path := range map[string]string{"GET": Path("backups"), "POST": Path("backups", "b", "verify")} {
			_, err := r.Call(t.Context(), method, "backups", path, map[string][]string{"place": {"/etc"}}, nil)
			var p *Problem
			if errors.As(err, &p) != (status != 0) || p != nil && p.Status != status {
				t.Errorf("%s: %s %s: %v", role, method, path, err)
			}
		}
	}
}

// Removing a line revokes the token with the next call; a file that cannot be read admits nobody.
func TestTokens_AreReadAgain(t *testing.T) {
	path, by := tokenFile(t)
	file, err := openTokens("admin.tokens", path)
	if err != nil {
		t.Fatal(err)
	}
	if who, ok, err := file.who(by["admin"]); !ok || err != nil || who.role != RoleAdmin || who.name != "ops-admin" {
		t.Fatalf("%+v %v %v", who, ok, err)
	}
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	_, line, err := NewToken("other", RoleViewer)
	if err != nil {
		t.Fatal(err)
	}
	write(line, 0o600)
	if _, ok, err := file.who(by["admin"]); ok || err != nil {
		t.Errorf("the token is still known (%v)", err)
	}
	write(line+"\n", 0o622)
	if _, ok, err := file.who(by["admin"]); ok || err == nil || !strings.Contains(err.Error(), "may be written by others") {
		t.Errorf("%v %v", ok, err)
	}
	write("", 0o600)
	if _, ok, err := file.who(by["admin"]); ok || err != nil {
		t.Errorf("an empty file admits: %v %v", ok, err)
	}
}

func TestOptions_Refused(t *testing.T) {
	path, _ := tokenFile(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no tokens", Options{Listen: "127.0.0.1:0"}, "set admin.tokens to file:PATH"},
		{"no file", Options{Listen: "127.0.0.1:0", Tokens: empty + ".x"}, "is not there; create it"},
		{"empty file", Options{Listen: "127.0.0.1:0", Tokens: empty}, "has no token; add a line that causeway ctl tokens new prints"},
		{"beyond loopback without TLS", Options{Listen: "0.0.0.0:0", Tokens: path}, "without TLS everybody on the way reads the tokens"},
		{"every address without TLS", Options{Listen: ":18083", Tokens: path}, "without TLS"},
		{"no port", Options{Listen: "localhost", Tokens: path, TLS: &tls.Config{}}, "want host:port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fixture(t, newFake())
			tt.o.Node, tt.o.Health, tt.o.Metrics, tt.o.Logger = s.node, s.health, NewMetrics(Build{}), quiet()
			if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := fixture(t, newFake(), func(o *Options) { o.MetricsListen = l.Addr().String() })
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "metrics.listen "+l.Addr().String()) || !strings.Contains(err.Error(), "free the address") {
		t.Errorf("%v", err)
	}
}

func TestParseTokens_Refused(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"ops viewer":               "line 1 has 2 words",
		"\nops root sha256:" + sum: `line 2: "root" is not a role`,
		"ops none sha256:" + sum:   `"none" is not a role`,
		"a viewer sha256:" + sum + "\nSocket admin sha256:" + sum: `line 2: "Socket" cannot name a token: the audit log has socket`,
		"break-glass/night admin sha256:" + sum:                   `line 1: "break-glass/night" cannot name a token`,
		"ops viewer " + sum:                                       "must be sha256:",
		"ops viewer sha256:" + sum[:60]:                           "must be sha256:",
		"ops viewer sha256:" + sum + " viewer":                    "has 4 words",
	} {
		if _, err := parseTokens([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("ops viewer sha256:" + strings.Repeat("a", 64)))
	f.Add([]byte("# x\n\n a b c d"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseTokens(b)
		for _, e := range entries {
			if err == nil && (e.name == "" || e.role == RoleNone) {
				t.Errorf("%+v from %q", e, b)
			}
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add(cursor(Key{"cars", "car-1"}))
	f.Add("!")
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := parseCursor(s); ok && s != "" {
			if again, ok := parseCursor(cursor(k)); !ok || again != k {
				t.Errorf("%q became %+v, then %+v", s, k, again)
			}
		}
	})
}

// The metrics address needs no token and has nothing else.
func TestMetricsAddress(t *testing.T) {
	s := fixture(t, newFake(), func(o *Options) { o.MetricsListen = "127.0.0.1:0" })
	running(t, s)
	base := "http://" + s.Addr(EndpointMetrics).String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/v1/status": 404, "/openapi.yaml": 404} {
		resp, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestRemote_SaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stranger := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })}
	go func() { _ = stranger.Serve(l) }()
	defer stranger.Close()
	tests := []struct {
		a    Address
		want string
	}{
		{Address{Socket: filepath.Join(dir, "admin.sock")}, "no node at " + dir + "/admin.sock: there is no such socket; start a node, or point at"},
		{Address{URL: "http://127.0.0.1:1"}, "nobody listens there; start the node with admin.listen"},
		{Address{URL: "http://" + l.Addr().String()}, "answers, but not as a Causeway node"},
	}
	for _, tt := range tests {
		if err := version(remote(t, tt.a)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.a, err)
		}
	}
	for _, u := range []string{"localhost:18083", "ftp://x", "http://", "http://x/v1", "http://x?a=b"} {
		if _, err := NewRemote(Address{URL: u}); err == nil || !strings.Contains(err.Error(), "want http://host:port") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

func TestRemote_ChecksTheFeature(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	running(t, fixture(t, newFake(), func(o *Options) { o.Socket = path }))
	_, err := remote(t, Address{Socket: path}).Call(t.Context(), "GET", "telepathy", "/v1/status", nil, nil)
	if err == nil || !strings.Contains(err.Error(), `the node runs v0.1.0, which does not offer "telepathy"`) {
		t.Errorf("%v", err)
	}
}
