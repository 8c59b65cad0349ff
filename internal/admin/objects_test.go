package admin

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token that the region keeps admits at once, and no longer than it is kept. Break-glass users are admitted when
// nothing else can be asked; whatever they call stands in the audit log, and is an alarm.
func TestTokens_OfTheRegionAndBreakGlass(t *testing.T) {
	path, tokens := tokenFile(t)
	secret, line, err := NewToken("night", RoleAdmin)
	if err != nil {
		t.Fatal(err)
	}
	glassFile := filepath.Join(t.TempDir(), "glass")
	if err := os.WriteFile(glassFile, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	s := fixture(t, f, func(o *Options) { o.Listen, o.Tokens, o.BreakGlass = "127.0.0.1:0", path, glassFile })
	running(t, s)
	url := "http://" + s.Addr(EndpointTCP).String()
	as := func(token, method, path string, body any) error {
		_, err := remote(t, Address{URL: url, Token: token}).Call(t.Context(), method, "", path, nil, body)
		return err
	}
	b, err := remote(t, Address{URL: url, Token: tokens["admin"]}).Call(t.Context(), "POST", "tokens", Path("tokens", "ci"), map[string][]string{"role": {"viewer"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	made := string(b[strings.Index(string(b), "cwy_"):])
	made = made[:strings.IndexByte(made, '"')]
	if err := as(made, "GET", Path("status"), nil); err != nil {
		t.Errorf("a token of the region: %v", err)
	}
	var p *Problem
	if err := as(made, "DELETE", Path("tokens", "ci"), nil); !errors.As(err, &p) || p.Status != 403 {
		t.Errorf("a viewer revokes: %v", err)
	}
	if err := as(tokens["admin"], "DELETE", Path("tokens", "ci"), nil); err != nil {
		t.Fatal(err)
	}
	if err := as(made, "GET", Path("status"), nil); !errors.As(err, &p) || p.Status != 401 {
		t.Errorf("a token that was revoked: %v", err)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := as(tokens["admin"], "GET", Path("status"), nil); !errors.As(err, &p) || p.Status != 401 {
		t.Errorf("a token of a file that is gone: %v", err)
	}
	if err := as(secret, "GET", Path("status"), nil); err != nil {
		t.Errorf("break-glass: %v", err)
	}
	if err := as(secret, "POST", Path("homes", "eu", "failover"), ConfirmRequest{Confirm: "eu"}); errors.As(err, &p) && (p.Status == 401 || p.Status == 403) {
		t.Errorf("break-glass, to save a region: %v", err)
	}
	records, err := s.audit.After(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, r := range records {
		if r.Who == "break-glass/night" && r.Action == "GET /v1/status" {
			looked++
		}
	}
	if looked == 0 {
		t.Errorf("the audit log has nothing of a break-glass user who only looked: %+v", records)
	}
	if c := s.glass.check(); !strings.Contains(c.Reason, "break-glass/night") {
		t.Errorf("no alarm: %+v", c)
	}
}

// A token that is called as the audit log calls somebody else is not made.
func TestTokens_ReservedNames(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	for _, name := range append([]string{"Rollout", "break-glass%2Fnight"}, reserved...) {
		if w := call(t, s, "POST", "/v1/tokens/"+name+"?role=viewer", ""); w.Code != 400 || !strings.Contains(w.Body.String(), "cannot name a token: the audit log has") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := call(t, s, "POST", "/v1/tokens/socket-watcher?role=viewer", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Passwords are in no audit log, not even as a hash of what could be guessed.
func TestUsers_PasswordsAreNotKept(t *testing.T) {
	s := fixture(t, newFake())
	if w := call(t, s, "POST", "/v1/users/bob", `{"password":"hunter2"}`); w.Code != 200 {
		t.Fatal(w.Body)
	}
	records, err := s.audit.After(0, 100)
	if err != nil || len(records) == 0 {
		t.Fatal(records, err)
	}
	for _, r := range records {
		if r.Request != "" || r.RequestHash != "" {
			t.Errorf("%+v", r)
		}
	}
}

// A whole file fits the calls that take one, and no other call.
func TestObjects_TakeAWholeFile(t *testing.T) {
	s := fixture(t, newFake())
	file := `{"name":"f","text":"` + strings.Repeat("x", 200<<10) + `"}`
	if w := call(t, s, "POST", "/v1/objects", file); w.Code != 200 {
		t.Errorf("apply: %d %s", w.Code, w.Body)
	}
	if w := call(t, s, "POST", "/v1/users/bob", file); w.Code != 413 {
		t.Errorf("a user: %d", w.Code)
	}
	if w := call(t, s, "POST", "/v1/objects", `{"text":"`+strings.Repeat("x", 600<<10)+`"}`); w.Code != 413 {
		t.Errorf("more than a file: %d", w.Code)
	}
}
