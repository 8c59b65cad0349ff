package meshtls

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Bounds of a fetch.
const (
	fetchWithin  = 10 * time.Second
	fetchAgain   = time.Minute // after one that failed, or sooner if lists are refreshed more often
	maxRedirects = 3
)

// answer is a list as it came.
type answer struct {
	data       []byte
	etag, date string
	same       bool // as the last one
}

var listClient = &http.Client{
	Timeout: fetchWithin,
	Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: fetchWithin / 2}).DialContext,
		MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true}, // one answer in a quarter of an hour
	CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirections", maxRedirects)
		}
		return nil
	},
}

// fetch asks for the list if it is another one than the last.
func (s *listSource) fetch(ctx context.Context) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the revocation list: %w", err)
	}
	if s.etag != "" {
		req.Header.Set("If-None-Match", s.etag)
	}
	if s.date != "" {
		req.Header.Set("If-Modified-Since", s.date)
	}
	resp, err := listClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the revocation list: %w; see whether the authority's server is up and reached from here", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && s.etag+s.date != "":
		return &answer{same: true}, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch the revocation list %s: %s; publish it there, or correct crl", s.shown, resp.Status)
	}
	data, err := limited(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("fetch the revocation list %s: %w", s.shown, err)
	}
	a := &answer{data: data}
	if tells(resp.Header) {
		a.etag, a.date = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	}
	return a, nil
}

// settled is how old a list is when its date tells it from every other one. (RFC 9110, 8.8.2.2)
const settled = time.Minute

// tells says whether an answer's date and tag tell its list from the next one. Dates are of whole seconds, and many servers
// make tags of them: a list that is replaced within the second looks like the one before it, for ever.
func tells(h http.Header) bool {
	if h.Get("Last-Modified") == "" {
		return true
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	now, err2 := http.ParseTime(h.Get("Date"))
	return err == nil && err2 == nil && now.Sub(modified) >= settled
}

// took has what was fetched in force, and says when to fetch again.
func (s *listSource) took(a *answer, err error, trusted []*x509.Certificate, refresh time.Duration) error {
	if err == nil && !a.same {
		if err = s.take(a.data, trusted); err == nil {
			s.etag, s.date = a.etag, a.date
			s.keep(a.data)
		}
	}
	if err != nil {
		refresh = min(refresh, fetchAgain)
	}
	s.next = time.Now().Add(jitter(refresh))
	return s.note(err)
}

// jitter keeps a fleet's nodes from asking all at once.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

func keptFile(cache, at string) string {
	sum := sha256.Sum256([]byte(at))
	return filepath.Join(cache, hex.EncodeToString(sum[:8])+".crl")
}

// keep writes what a URL gave. Without it the list is fetched after a restart all the same, so that a full disk is no problem
// of its own.
func (s *listSource) keep(data []byte) {
	if s.kept == "" || os.MkdirAll(filepath.Dir(s.kept), 0o700) != nil {
		return
	}
	_ = writeFile(outFile{s.kept, data, modeCert}, true)
}

func readList(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	defer f.Close()
	data, err := limited(f)
	if err != nil {
		return nil, fmt.Errorf("revocation list %s: %w", file, err)
	}
	return data, nil
}

var errListTooLarge = errors.New("it is larger than 40 MiB: have the authority drop expired certificates, or split it")

func limited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err == nil && len(data) > maxList {
		err = errListTooLarge
	}
	return data, err
}
