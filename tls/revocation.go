package meshtls

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stale is what happens to certificates of an authority that has no list here, or none that is in date.
type Stale string

// What happens to them.
const (
	StaleAlarm  Stale = "alarm"  // they are taken unless the last list revokes them, and readiness fails
	StaleRefuse Stale = "refuse" // no new connection with one is taken
)

// DefaultListRefresh is how often a list is fetched when nothing is said.
const DefaultListRefresh = 15 * time.Minute

// RevocationOptions say which certificates are revoked.
type RevocationOptions struct {
	// Lists are files and http or https URLs, PEM or DER. None: nothing is revoked.
	Lists []string
	// Refresh is how often URLs are fetched. Default DefaultListRefresh. Files are read at each Reload.
	Refresh time.Duration
	// Stale is what a list does that ended without a newer one. Default StaleAlarm.
	Stale Stale
	// Cache is a folder for what URLs gave last, so that a restart while they are down revokes no less. "": nothing is kept.
	Cache string
}

// Revocations are the lists of revoked certificates of a set of authorities. The zero value revokes nothing. Methods may be
// called concurrently; Check never waits.
type Revocations struct {
	trusted  func() []*x509.Certificate // the authorities; set once
	failures atomic.Int64
	state    atomic.Pointer[revocationState]

	fetching sync.Mutex // held by Fetch, which is slow

	mu      sync.Mutex // guards what follows
	opts    RevocationOptions
	sources []*listSource
	held    []byte // digest of the authorities that the lists were held against last
}

// revocationState is never changed once published.
type revocationState struct {
	refuse bool // without a list in date
	lists  map[string][]*list
}

// RevokedError says that a certificate is revoked, or that nobody can say whether it is and such are refused.
type RevokedError struct {
	// Subject and Issuer are names in the certificate, Serial its number in hex.
	Subject, Issuer, Serial string
	// At is since when it is revoked, and Reason why; zero when only the list is missing.
	At     time.Time
	Reason string
	// NoList says what is wrong with the list; "" when the certificate is revoked.
	NoList string
}

// Error is one line for the operator.
func (e *RevokedError) Error() string {
	if e.NoList != "" {
		return fmt.Sprintf("certificate %s of %q cannot be checked, and such are refused (crl_stale): %s", e.Serial, e.Subject, e.NoList)
	}
	return fmt.Sprintf("certificate %s of %q was revoked by %q on %s (%s): issue another if that is not meant", e.Serial, e.Subject, e.Issuer, e.At.UTC().Format(time.RFC3339), e.Reason)
}

// Revoked says that the certificate is revoked; otherwise only its authority's list is not there or out of date.
func (e *RevokedError) Revoked() bool { return e.NoList == "" }

// reasons are those of RFC 5280, 5.3.1.
var reasons = map[string]int{"unspecified": 0, "key-compromise": 1, "ca-compromise": 2, "affiliation-changed": 3, "superseded": 4,
	"cessation-of-operation": 5, "certificate-hold": 6, "privilege-withdrawn": 9, "aa-compromise": 10}

func reasonName(code int) string {
	for name, c := range reasons {
		if c == code {
			return name
		}
	}
	return fmt.Sprintf("reason %d", code)
}

// Check says whether one of the chains, each from a certificate to an authority that is trusted, has nothing revoked in it.
// A *RevokedError is the answer otherwise.
func (r *Revocations) Check(chains [][]*x509.Certificate) error {
	s := r.state.Load()
	if s == nil {
		return nil
	}
	var first error
	for _, chain := range chains {
		err := s.check(chain, time.Now())
		if err == nil {
			return nil
		}
		if first == nil || err.Revoked() {
			first = err
		}
	}
	return first
}

func (s *revocationState) check(chain []*x509.Certificate, now time.Time) *RevokedError {
	var unknown *RevokedError
	for i, cert := range chain {
		known, late := false, false
		for _, l := range s.lists[string(cert.RawIssuer)] {
			if !l.covers(cert) {
				continue
			}
			if e := l.find(cert); e != nil {
				return &RevokedError{Subject: cert.Subject.String(), Issuer: l.name, Serial: cert.SerialNumber.Text(16), At: time.Unix(int64(e.at), 0), Reason: reasonName(int(e.reason))}
			}
			known, late = true, late || l.stale(now)
		}
		anchor := i == len(chain)-1 // trusted as it is
		if s.refuse && !anchor && unknown == nil && (!known || late) {
			why := fmt.Sprintf("there is no list of %q", cert.Issuer)
			if late {
				why = fmt.Sprintf("the list of %q is out of date", cert.Issuer)
			}
			unknown = &RevokedError{Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: cert.SerialNumber.Text(16), NoList: why}
		}
	}
	return unknown
}

// Set replaces what lists there are. Files are read and what is kept of URLs is, but these are not fetched. On an error what
// was before stays.
func (r *Revocations) Set(o RevocationOptions) error {
	if o.Refresh == 0 {
		o.Refresh = DefaultListRefresh
	}
	o.Stale = cmp.Or(o.Stale, StaleAlarm)
	r.mu.Lock()
	defer r.mu.Unlock()
	var next []*listSource
	for _, at := range o.Lists {
		i := slices.IndexFunc(r.sources, func(s *listSource) bool { return s.at == at })
		if i >= 0 && r.opts.Cache == o.Cache {
			next = append(next, r.sources[i])
			continue
		}
		next = append(next, newListSource(at, o.Cache))
	}
	for _, s := range next {
		if err := s.read(r.trusted()); err != nil && !s.remote {
			return fmt.Errorf("%w; causeway ca revoke writes one, or correct crl", err)
		}
	}
	r.held = listDigest(nil, r.trusted())
	r.opts, r.sources = o, next
	r.publish()
	return nil
}

// Reload reads the files again, and holds what URLs gave against authorities that have changed. Of what cannot be read, or
// is older than what was, the last stays.
func (r *Revocations) Reload() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	trusted := r.trusted()
	held := listDigest(nil, trusted)
	others := !bytes.Equal(held, r.held)
	r.held = held
	for _, s := range r.sources {
		if s.remote && !others {
			continue
		}
		was := s.lists
		if e := s.read(trusted); e != nil && !s.remote {
			r.failures.Add(1)
			err = errors.Join(err, fmt.Errorf("reload revocation lists, keeping the last: %w", e))
		}
		changed = changed || !slices.Equal(was, s.lists)
	}
	if changed {
		r.publish()
	}
	return changed, err
}

// Fetch fetches the URLs that are due, or all, side by side. What cannot be fetched or is refused leaves the last list in
// force; the error names it.
func (r *Revocations) Fetch(ctx context.Context, all bool) (changed bool, err error) {
	r.fetching.Lock()
	defer r.fetching.Unlock()
	due := r.due(time.Now(), all)
	answers, errs := make([]*answer, len(due)), make([]error, len(due))
	var wait sync.WaitGroup
	for i, s := range due {
		wait.Go(func() { answers[i], errs[i] = s.fetch(ctx) })
	}
	wait.Wait()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range due {
		was := s.lists
		if e := s.took(answers[i], errs[i], r.trusted(), r.opts.Refresh); e != nil {
			r.failures.Add(1)
			err = errors.Join(err, e)
		}
		changed = changed || !slices.Equal(was, s.lists)
	}
	if changed {
		r.publish()
	}
	return changed, err
}

func (r *Revocations) due(now time.Time, all bool) (due []*listSource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sources {
		if s.remote && (all || !now.Before(s.next)) {
			due = append(due, s)
		}
	}
	return due
}

// Failures counts how often a file or URL gave no list.
func (r *Revocations) Failures() int64 { return r.failures.Load() }

// publish makes the state of what the sources have. The caller holds mu.
func (r *Revocations) publish() {
	if len(r.sources) == 0 {
		r.state.Store(nil)
		return
	}
	s := &revocationState{refuse: r.opts.Stale == StaleRefuse, lists: map[string][]*list{}}
	for _, src := range r.sources {
		for _, l := range src.lists {
			s.lists[l.subject] = append(s.lists[l.subject], l)
		}
	}
	r.state.Store(s)
}

// ListStatus is how a list stands, or that there is none.
type ListStatus struct {
	// Source is the file or URL; "" of an authority that has no list.
	Source string
	// Issuer is the authority; "" of a source that gave no list yet.
	Issuer  string
	Number  string
	Revoked int
	// ThisUpdate and NextUpdate are what the list says; NextUpdate is zero if it says nothing.
	ThisUpdate, NextUpdate time.Time
	// Problem is why the source gave nothing when it was last asked; "" when it did.
	Problem string
}

// Policy is what stale lists do.
func (r *Revocations) Policy() Stale {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opts.Stale
}

// Status lists all lists, then the authorities that have none.
func (r *Revocations) Status() (all []ListStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sources) == 0 {
		return nil
	}
	for _, s := range r.sources {
		for _, l := range s.lists {
			st := ListStatus{Source: s.shown, Issuer: l.name, Revoked: len(l.revoked), ThisUpdate: l.thisUpdate, NextUpdate: l.nextUpdate, Problem: s.problem}
			if l.number != nil {
				st.Number = l.number.String()
			}
			all = append(all, st)
		}
		if len(s.lists) == 0 {
			all = append(all, ListStatus{Source: s.shown, Problem: cmp.Or(s.problem, "it was not fetched yet")})
		}
	}
	for _, ca := range r.trusted() {
		has := func(s *listSource) bool {
			return slices.ContainsFunc(s.lists, func(l *list) bool { return l.subject == string(ca.RawSubject) && sameKey(l.keyID, ca.SubjectKeyId) })
		}
		if !slices.ContainsFunc(r.sources, has) {
			all = append(all, ListStatus{Issuer: authorityName(ca)})
		}
	}
	return all
}

// IsListURL says that a list is fetched, and not read from a file.
func IsListURL(at string) bool {
	return strings.HasPrefix(at, "http://") || strings.HasPrefix(at, "https://")
}

// listSource is a file or URL of lists. Its owner is who holds the Revocations' mu.
type listSource struct {
	at     string
	shown  string // without a password in the URL
	remote bool
	kept   string // file of what a URL gave; "": none

	lists   []*list
	digest  []byte // of what lists was read from, and of the authorities it was held against
	problem string

	next       time.Time // when the URL is due; zero: at once
	etag, date string    // of the answer that lists is of; owned by Fetch
}

func newListSource(at, cache string) *listSource {
	s := &listSource{at: at, shown: at, remote: IsListURL(at)}
	if s.remote {
		if u, err := url.Parse(at); err == nil {
			s.shown = u.Redacted()
		}
		if cache != "" {
			s.kept = keptFile(cache, at)
		}
	}
	return s
}

// read reads the file, or what is kept of a URL.
func (s *listSource) read(trusted []*x509.Certificate) error {
	file := s.at
	if s.remote {
		if file = s.kept; file == "" {
			return nil
		}
	}
	data, err := readList(file)
	if s.remote && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.take(data, trusted)
	}
	if err == nil && s.remote {
		return nil // whether the URL gives anything is another question
	}
	return s.note(err)
}

// note keeps why the source gave nothing.
func (s *listSource) note(err error) error {
	s.problem = ""
	if err != nil {
		s.problem = err.Error()
	}
	return err
}

// take has new lists in the place of the old ones, unless they cannot be trusted or are older.
func (s *listSource) take(data []byte, trusted []*x509.Certificate) error {
	digest := listDigest(data, trusted)
	if bytes.Equal(digest, s.digest) {
		return nil
	}
	next, err := parseLists(s.shown, data, trusted)
	if err == nil {
		err = s.forward(next, trusted)
	}
	if err != nil {
		return err
	}
	s.lists, s.digest = next, digest
	return nil
}

func listDigest(data []byte, trusted []*x509.Certificate) []byte {
	h := sha256.New()
	h.Write(data)
	for _, ca := range trusted {
		h.Write([]byte{0})
		h.Write(ca.Raw)
	}
	return h.Sum(nil)
}

// forward refuses lists that take back what a newer one said: an old copy would let in who is revoked.
func (s *listSource) forward(next []*list, trusted []*x509.Certificate) error {
	for _, old := range s.lists {
		i := slices.IndexFunc(next, func(l *list) bool { return l.subject == old.subject && sameKey(l.keyID, old.keyID) })
		switch {
		case i < 0 && (slices.ContainsFunc(trusted, old.by.Equal) || len(below(trusted, []*x509.Certificate{old.by})) > 0):
			return fmt.Errorf("%s: the list of %q is not there any more, and its authority is still trusted: put it back, or take the authority out of the CA files", s.shown, old.name)
		case i >= 0 && next[i].before(old):
			return fmt.Errorf("%s: the list of %q went back from %s to %s: publish the newest; if the authority began to count anew, %s", s.shown, old.name, old.numbered(), next[i].numbered(), s.forget())
		}
	}
	return nil
}

// forget says how an operator has a node take an older list.
func (s *listSource) forget() string {
	if s.kept != "" {
		return "remove " + s.kept + " and restart the node"
	}
	return "restart the node"
}
