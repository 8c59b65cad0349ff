package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Address says where a node's API is: at a Unix socket, or at a URL with a token.
type Address struct {
	Socket string
	URL    string // http://host:port or https://host:port; it wins over Socket
	Token  string
	TLS    *tls.Config // for https; nil trusts the system's authorities

	// Dial reaches Node from another one of its region; it wins over both.
	Dial func(context.Context) (net.Conn, error)
	Node string
}

// Remote is the API of a node as a caller has it.
type Remote struct {
	target Address
	base   string
	client *http.Client
}

// callTime is how long one call may take.
const callTime = 30 * time.Second

// maxAnswer bounds the answer a caller reads, in bytes: a page of payloads of the largest packets.
const maxAnswer = 256 << 20

// NewRemote prepares calls to a node; it connects with the first one.
func NewRemote(t Address) (*Remote, error) {
	transport := &http.Transport{TLSClientConfig: t.TLS, MaxIdleConns: 1, IdleConnTimeout: time.Minute}
	r := &Remote{target: t, base: "http://causeway", client: &http.Client{Transport: transport, Timeout: callTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	switch {
	case t.Dial != nil:
		transport.DisableKeepAlives = true
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Dial(ctx) }
	case t.URL != "":
		u, err := url.Parse(t.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("the server %q is not a URL; want http://host:port or https://host:port", t.URL)
		}
		r.base = u.Scheme + "://" + u.Host
	case t.Socket != "":
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", t.Socket)
		}
	default:
		return nil, errors.New("there is neither a socket nor a server to ask")
	}
	return r, nil
}

// Close gives up the connection.
func (r *Remote) Close() { r.client.CloseIdleConnections() }

// Path builds a path of the API from its segments: Path("clients", namespace, id). Segments may
// hold any character.
func Path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteByte('/')
		if strings.Trim(s, ".") == "" { // "." and ".." mean something else in a path
			b.WriteString(strings.ReplaceAll(s, ".", "%2E"))
			continue
		}
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// Call makes one call and returns the JSON of the answer. The node must offer the feature. Errors:
// *Unreachable when there is no node to talk to, *Problem when it says no.
func (r *Remote) Call(ctx context.Context, method, feature, path string, params url.Values, body any) (json.RawMessage, error) {
	req, err := r.request(ctx, method, path, params, body)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.unreachable(err)
	}
	defer resp.Body.Close()
	return r.answer(resp, feature)
}

func (r *Remote) request(ctx context.Context, method, path string, params url.Values, body any) (*http.Request, error) {
	u := r.base + path
	if len(params) > 0 {
		u += "?" + params.Encode()
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u, content)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if r.target.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.target.Token)
	}
	return req, nil
}

// Download makes one call and copies the answer, which is not JSON. Errors: as of Call.
func (r *Remote) Download(ctx context.Context, feature, path string, w io.Writer) error {
	req, err := r.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return r.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get(HeaderVersion) == "" {
		_, err := r.answer(resp, feature)
		return err
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the answer of %s: %w", r.where(), err)
	}
	return nil
}

// answer reads a response and checks whom it is from.
func (r *Remote) answer(resp *http.Response, feature string) (json.RawMessage, error) {
	version := resp.Header.Get(HeaderVersion)
	if version == "" {
		if secure, plain := strings.CutPrefix(r.where(), "http://"); plain { // what a listener for HTTPS says to who speaks in the clear
			return nil, fmt.Errorf("http://%s answers, but not as a Causeway node; is this the address of admin.listen? A node that has a certificate listens there with TLS: --server https://%s", secure, secure)
		}
		return nil, fmt.Errorf("%s answers, but not as a Causeway node; is this the address of admin.listen?", r.where())
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", r.where(), err)
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is larger than %s; ask for a smaller page", r.where(), FormatBytes(maxAnswer))
	}
	features := strings.Split(resp.Header.Get(HeaderFeatures), ",")
	if feature != "" && !slices.Contains(features, feature) {
		return nil, fmt.Errorf("the node runs %s, which does not offer %q (it offers %s); upgrade the node, or use the ctl of its version",
			version, feature, strings.Join(features, ", "))
	}
	if resp.StatusCode == http.StatusOK {
		return b, nil
	}
	var p Problem
	if err := json.Unmarshal(b, &p); err != nil || p.Status == 0 {
		return nil, fmt.Errorf("%s answers %s without saying why", r.where(), resp.Status)
	}
	return nil, &p
}

func (r *Remote) where() string {
	if r.target.Dial != nil {
		return "node " + r.target.Node
	}
	if r.target.URL != "" {
		return r.target.URL
	}
	return r.target.Socket
}

// Unreachable says that no node answers at the target.
type Unreachable struct {
	Where string
	Err   error
	Fix   string
}

// Error names the target, the cause and the fix.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("no node at %s: %s; %s", u.Where, u.Err, u.Fix)
}

// Unwrap is the error of the network.
func (u *Unreachable) Unwrap() error { return u.Err }

// unreachable explains an error of the network.
func (r *Remote) unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	u := &Unreachable{Where: r.where(), Err: err}
	switch {
	case r.target.URL != "" && errors.Is(err, syscall.ECONNREFUSED):
		u.Err, u.Fix = errors.New("nobody listens there"), "start the node with admin.listen at this address, or pass another --server"
	case r.target.URL != "":
		u.Fix = "check --server, and that admin.listen of the node is reachable from here"
	case errors.Is(err, fs.ErrNotExist):
		u.Err, u.Fix = errors.New("there is no such socket"), "start a node, or point at its data directory with --data-dir or --socket, or elsewhere with --server or --context"
	case errors.Is(err, syscall.ECONNREFUSED):
		u.Err, u.Fix = errors.New("the socket is there but nobody listens"), "the node is gone; start it again"
	case errors.Is(err, fs.ErrPermission):
		u.Err, u.Fix = errors.New("permission denied"), "run as the user the node runs as, or use --server with --token-file"
	default:
		u.Fix = "see whether the node runs"
	}
	return u
}
