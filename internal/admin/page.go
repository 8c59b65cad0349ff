package admin

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"

	"causeway/internal/config"
)

// Bounds of lists. A filter that hardly anything passes looks at maxScan items and hands back a
// place to go on from.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxScan      = 20_000
)

// query reads the parameters of a request; the first that is wrong is kept in err.
type query struct {
	values url.Values
	err    *Problem
}

func (q *query) wrong(name, want string) {
	if q.err == nil {
		q.err = badRequest("give "+name+" "+want, "the parameter %s is %q", name, q.values.Get(name))
	}
}

func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) flag(name string) bool {
	switch q.values.Get(name) {
	case "", "false":
		return false
	case "true":
		return true
	}
	q.wrong(name, "as true or false")
	return false
}

func (q *query) limit() int {
	s := q.values.Get("limit")
	if s == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		q.wrong("limit", "as a number from 1 to "+strconv.Itoa(maxLimit))
	}
	return n
}

func (q *query) number(name string) uint64 {
	s := q.values.Get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		q.wrong(name, "as the next of the page before")
	}
	return n
}

func (q *query) duration(name string) time.Duration {
	s := q.values.Get(name)
	if s == "" {
		return 0
	}
	d, err := config.ParseDuration(s)
	if err != nil || d == 0 {
		q.wrong(name, "as a duration such as 30m or 2d")
	}
	return d
}

func (q *query) after() Key {
	k, ok := parseCursor(q.values.Get("after"))
	if !ok {
		q.wrong("after", "as the next of the page before")
	}
	return k
}

// cursor is a key in the form pages hand out: callers pass it back and read nothing into it.
func cursor(k Key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(k.Namespace + "\x00" + k.Name))
}

func parseCursor(s string) (Key, bool) {
	if s == "" {
		return Key{}, true
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	ns, name, ok := strings.Cut(string(b), "\x00")
	return Key{ns, name}, err == nil && ok
}

// collect fills a page from a list in key order: it fetches, keeps what passes the filter, and
// stops at limit items or maxScan looked at.
func collect[T interface{ Key() Key }](after Key, limit int, keep func(T) bool, fetch func(after Key, max int) ([]T, error)) (Page[T], error) {
	page := Page[T]{Items: []T{}}
	for scanned := 0; ; {
		batch, err := fetch(after, maxLimit)
		if err != nil {
			return page, err
		}
		for _, item := range batch {
			if len(page.Items) == limit {
				page.Next = cursor(after)
				return page, nil
			}
			after = item.Key()
			if keep(item) {
				page.Items = append(page.Items, item)
			}
		}
		if len(batch) < maxLimit {
			return page, nil
		}
		if scanned += len(batch); scanned >= maxScan {
			page.Next = cursor(after)
			return page, nil
		}
	}
}
