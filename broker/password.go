package broker

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const maxPasswordFile = 256 << 20 // bytes

// loadPasswords reads user:bcrypt lines. Empty lines and lines that begin with # are skipped.
func loadPasswords(path string) (map[string][]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the password file: %w", err)
	}
	defer f.Close()
	users := map[string][]byte{}
	sc := bufio.NewScanner(io.LimitReader(f, maxPasswordFile))
	for n := 1; sc.Scan(); n++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(text, ':') // a bcrypt hash has none, a user name may
		if i <= 0 {
			return nil, fileError(path, n, "want user:bcrypt; `causeway passwd` writes it")
		}
		user, hash := text[:i], []byte(text[i+1:])
		if _, err := bcrypt.Cost(hash); err != nil {
			return nil, fileError(path, n, "the part after the last colon is not a bcrypt hash; `causeway passwd` writes it")
		}
		if _, twice := users[user]; twice {
			return nil, fileError(path, n, fmt.Sprintf("user %q is there twice; remove one", user))
		}
		users[user] = hash
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read the password file %s: %w", path, err)
	}
	return users, nil
}

const (
	loginTTL   = time.Minute // a right password is not hashed again within it
	maxLogins  = 50_000      // remembered, about 5 MB
	nobodyCost = bcrypt.DefaultCost
)

// loginCache checks passwords. bcrypt takes tens of milliseconds of a core, so a storm of devices that reconnect would
// take minutes of it: a password that was right is remembered for a minute, as a keyed hash. Half of the cores check
// passwords at most; a device that waits beyond its deadline is refused.
type loginCache struct {
	key   [32]byte
	slots chan struct{}

	mu     sync.Mutex
	logins map[[32]byte]login
	nobody []byte // a hash to compare with for users that do not exist: they take as long
}

type login struct {
	hash  []byte // the one it was compared with
	until time.Time
}

func newLoginCache() *loginCache {
	c := &loginCache{slots: make(chan struct{}, (runtime.GOMAXPROCS(0)+1)/2), logins: map[[32]byte]login{}}
	_, _ = rand.Read(c.key[:])
	return c
}

func (c *loginCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.logins)
}

// verify checks user name and password of a device.
func (c *loginCache) verify(users *authState, info *ConnectInfo) bool {
	hash, known := users.hash(info.Username)
	mac := hmac.New(sha256.New, c.key[:])
	fmt.Fprintf(mac, "%d:%s", len(info.Username), info.Username)
	mac.Write(info.Password)
	id := [32]byte(mac.Sum(nil))
	if known && c.remembers(id, hash) {
		return true
	}
	wait := time.NewTimer(time.Until(info.Deadline))
	defer wait.Stop()
	select {
	case c.slots <- struct{}{}:
	case <-wait.C:
		return false
	}
	defer func() { <-c.slots }()
	if !known {
		_ = bcrypt.CompareHashAndPassword(c.nobodyHash(), info.Password)
		return false
	}
	if !matches(hash, info.Password) {
		return false
	}
	c.remember(id, hash)
	return true
}

func (c *loginCache) remembers(id [32]byte, hash []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.logins[id]
	return ok && bytes.Equal(l.hash, hash) && time.Now().Before(l.until)
}

// remember makes room when there is none: of what is out of date, else of anything.
func (c *loginCache) remember(id [32]byte, hash []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.logins) >= maxLogins {
		for k, l := range c.logins {
			if now.After(l.until) {
				delete(c.logins, k)
			}
		}
		for k := range c.logins {
			if len(c.logins) < maxLogins {
				break
			}
			delete(c.logins, k)
		}
	}
	c.logins[id] = login{hash: hash, until: now.Add(loginTTL)}
}

func (c *loginCache) nobodyHash() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nobody == nil {
		c.nobody, _ = bcrypt.GenerateFromPassword(c.key[:], nobodyCost)
	}
	return c.nobody
}
