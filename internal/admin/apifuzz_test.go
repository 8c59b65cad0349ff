package admin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// fuzzed is a call that no operator means to make: each part of it is right, or is not, at random.
type fuzzed struct {
	method, target, body string
	wrong                bool // something in it is sure to be refused
}

var (
	segments = []string{"cars", "us", "eu", "a%2Fb", "..%2F..%2Fetc", "%00", "%FF%FE", "%2E%2E", strings.Repeat("x", 5000), "-1", "💥", "a b", "%25", "'\"--"}
	values   = []string{"", "true", "TRUE", "1", "-1", "99999999999999999999", "0x10", "1e309", "NaN", "1h", "-5s", "9999999h", "a/#/b", "#", "+/+", "\x00", "\xff\xfe", strings.Repeat("y", 70000), "eu", "..", "file:///etc/passwd", "{}", "💥"}
	bodies   = []string{"", "{", "[]", "null", "0", `"x"`, "{}", `{"confirm":"us"}`, `{"confirm":1}`, `{"confirm":"us","more":true}`, `{"confirm":"us"}{"confirm":"us"}`, `{"set":[{"key":"rate","value":["x"]}]}`,
		strings.Repeat("[", 20000), `{"confirm":"` + strings.Repeat("z", 70000) + `"}`, "\x00\x01\x02", `{"confirm":"\ud800"}`}
	pathName = regexp.MustCompile(`\{(\w+)\}`)
)

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// fuzzCall makes one from a route of the document.
func fuzzCall(r *rand.Rand, method, path string, params []string) fuzzed {
	c := fuzzed{method: method, target: pathName.ReplaceAllStringFunc(path, func(string) string { return url.PathEscape(unescaped(pick(r, segments))) })}
	query := url.Values{}
	for _, p := range params {
		if r.IntN(2) == 0 {
			query.Add(p, pick(r, values))
		}
	}
	switch r.IntN(6) {
	case 0:
		query.Add("dry_rum", "true") // a typing error must not become a real one
		c.wrong = true
	case 1:
		if len(params) > 0 {
			p := params[r.IntN(len(params))]
			query[p] = []string{"true", "true"}
			c.wrong = true
		}
	}
	if len(query) > 0 {
		c.target += "?" + query.Encode()
	}
	if method != http.MethodGet && r.IntN(4) > 0 {
		c.body = pick(r, bodies)
	}
	return c
}

func unescaped(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// Every route of the document, with thousands of malformed paths, parameters and bodies: none is answered with a fault
// of the server, none hangs, and what is refused has changed nothing.
func TestAPI_FuzzedAgainstItsDocument(t *testing.T) {
	doc := document(t)
	type target struct {
		method, path string
		params       []string
	}
	var all []target
	for name, op := range operations(t, doc) {
		method, path, _ := strings.Cut(name, " ")
		inQuery, _ := parameters(t, doc, doc["paths"].(object)[path].(object), op)
		if path == "/v1/profile/{profile}" || path == "/v1/events" { // they take the time that they are asked for
			continue
		}
		all = append(all, target{method, path, inQuery})
	}
	slices.SortFunc(all, func(a, b target) int { return strings.Compare(a.method+a.path, b.method+b.path) })
	f := newFake()
	s := fixture(t, f)
	h := newAPI(s).handler(viaSocket)
	const rounds = 60
	codes := map[int]int{}
	for i, x := range all {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for range rounds {
			c := fuzzCall(r, x.method, x.path, x.params)
			before := len(f.done())
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://node"+c.target, strings.NewReader(c.body))
			if err != nil {
				t.Fatalf("%s %s: %v", c.method, c.target, err)
			}
			ctx, cancel := context.WithTimeout(req.Context(), 20*time.Second)
			w := httptest.NewRecorder()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				h.ServeHTTP(w, req.WithContext(ctx))
			}()
			select {
			case <-ended:
			case <-ctx.Done():
				cancel()
				t.Fatalf("%s %.200s hangs", c.method, c.target)
			}
			cancel()
			codes[w.Code/100]++
			what := fmt.Sprintf("%s %.300s, body %.100q: %d %.300s", c.method, c.target, c.body, w.Code, w.Body)
			switch changed := f.done()[before:]; {
			case w.Code >= 500 && w.Code != http.StatusServiceUnavailable:
				t.Error(what)
			case w.Code >= 300 && len(changed) > 0:
				t.Errorf("%s: refused, and yet %q", what, changed)
			case c.wrong && w.Code < 300 && !strings.HasPrefix(x.path, "/healthz") && !raw(x.path):
				t.Errorf("%s: it has a parameter that there is not, or twice", what)
			case c.method == http.MethodGet && len(changed) > 0:
				t.Errorf("%s: a GET did %q", what, changed)
			}
		}
	}
	t.Logf("%d routes, %d calls each; answers by hundreds: %v", len(all), rounds, codes)
	if codes[2] == 0 || codes[4] == 0 {
		t.Error("nothing was let in, or nothing refused: the fuzzer is not at the border")
	}
}

// raw says that a page takes whatever parameters there are.
func raw(path string) bool {
	return !strings.HasPrefix(path, "/v1/") || strings.HasSuffix(path, "/export")
}
