package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/home"
)

// Users with passwords that an operator added to the region. They lie in a few documents, so that there can be more of
// them than one document holds, and are of the home: a standby has them.
const (
	usersPrefix = "users/"
	userShards  = 16
	maxUserName = 256
)

func userShard(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%s%02d", usersPrefix, h.Sum32()%userShards)
}

// loginUsers are a home's users as they were read last.
type loginUsers struct {
	usersMu sync.Mutex
	usersAt uint64                       // home.State.Documented then
	usersIn map[string]map[string]string // by document
	usersOf map[string]string
}

// users are hashes by user name. The map is replaced and never changed.
func (h *homeService) users() map[string]string {
	h.usersMu.Lock()
	defer h.usersMu.Unlock()
	if h.opened.Load() == nil {
		return h.usersOf // who was known stays known while the home is closed
	}
	at := h.documents.state().Documented()
	if h.usersOf != nil && h.usersAt == at {
		return h.usersOf
	}
	all, shards := map[string]string{}, map[string]map[string]string{}
	for _, d := range h.documents.list() {
		if !strings.HasPrefix(d.Name, usersPrefix) {
			continue
		}
		doc, _ := h.documents.get(d.Name)
		shard, err := readUsers(doc)
		if !h.documents.understood(doc, err) {
			shard = h.usersIn[d.Name] // nobody else is admitted by it
		}
		shards[d.Name] = shard
		maps.Copy(all, shard)
	}
	for name := range h.usersIn {
		if _, still := shards[name]; !still {
			h.documents.understood(home.Document{Name: name}, nil) // it was removed
		}
	}
	h.usersAt, h.usersIn, h.usersOf = at, shards, all
	return all
}

func readUsers(d home.Document) (map[string]string, error) {
	shard, err := readDocument[map[string]string](d)
	if shard == nil || err != nil {
		return nil, err
	}
	return *shard, nil
}

// Users implements admin.Users.
func (n node) Users() (list []admin.User, err error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	for name, hash := range n.h.users() {
		list = append(list, admin.User{Name: name, Hash: hashKind(hash), Origin: admin.OriginRegion})
	}
	for _, name := range n.a.auth.FileUsers() {
		list = append(list, admin.User{Name: name, Hash: "bcrypt", Origin: admin.OriginFile})
	}
	slices.SortFunc(list, func(a, b admin.User) int { return strings.Compare(a.Name+"\x00"+a.Origin, b.Name+"\x00"+b.Origin) })
	return list, nil
}

func hashKind(hash string) string {
	if strings.HasPrefix(hash, "$argon2id$") {
		return "argon2id"
	}
	return "bcrypt"
}

// SetUser implements admin.Users.
func (n node) SetUser(ctx context.Context, u admin.UserEdit, by string, dryRun bool) ([]string, error) {
	if u.Name == "" || len(u.Name) > maxUserName || strings.ContainsAny(u.Name, "\x00\n\r") {
		return nil, admin.BadRequest(fmt.Sprintf("%q is no user name", u.Name), fmt.Sprintf("want 1 to %d bytes in one line", maxUserName))
	}
	hash := u.Hash
	if u.Password != "" && hash != "" || u.Password == "" && hash == "" {
		return nil, admin.BadRequest("a user has a password or a hash", "send one of them")
	}
	if hash != "" {
		if err := broker.ValidHash(hash); err != nil {
			return nil, admin.BadRequest("hash: "+err.Error(), "send what causeway passwd or another program made: bcrypt, or argon2id as $argon2id$v=19$m=...")
		}
	}
	_, known := n.h.users()[u.Name]
	switch {
	case u.New && known:
		return nil, admin.Refuse("exists", "there is a user "+u.Name, "change the password with passwd, or delete the user first")
	case !u.New && !known:
		return nil, fmt.Errorf("%w: there is no user %s in the region; those of a password file are changed there", admin.ErrNotFound, u.Name)
	}
	effects := []string{"devices can connect as " + u.Name + " on every node of the region, and of a region that takes it over"}
	if slices.Contains(n.a.auth.FileUsers(), u.Name) {
		effects = []string{"nothing on nodes whose password file has " + u.Name + " too: there the file's password holds"}
	}
	if dryRun {
		return effects, n.mayWrite()
	}
	if hash == "" {
		var err error
		if hash, err = broker.HashPassword([]byte(u.Password)); err != nil {
			return nil, err
		}
	}
	return effects, n.editUsers(ctx, u.Name, by, func(m map[string]string) error {
		if _, known := m[u.Name]; u.New && known {
			return admin.Refuse("exists", "there is a user "+u.Name, "change the password with passwd")
		}
		m[u.Name] = hash
		return nil
	})
}

// DeleteUser implements admin.Users.
func (n node) DeleteUser(ctx context.Context, name, by string, dryRun bool) ([]string, error) {
	if _, known := n.h.users()[name]; !known {
		return nil, fmt.Errorf("%w: there is no user %s in the region; those of a password file are removed there", admin.ErrNotFound, name)
	}
	effects := []string{"nobody can connect as " + name + " any more; connections there are stay, causeway ctl clients kick ends them"}
	if dryRun {
		return effects, n.mayWrite()
	}
	return effects, n.editUsers(ctx, name, by, func(m map[string]string) error {
		delete(m, name)
		return nil
	})
}

func (n node) editUsers(ctx context.Context, name, by string, change func(map[string]string) error) error {
	_, err := n.h.documents.edit(ctx, userShard(name), by, "", func(body []byte) ([]byte, error) {
		m := map[string]string{}
		if len(body) > 0 {
			if err := json.Unmarshal(body, &m); err != nil {
				return nil, err
			}
		}
		if err := change(m); err != nil {
			return nil, err
		}
		if len(m) == 0 {
			return nil, nil
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(m)
		return b.Bytes(), err
	})
	return documentError(err)
}

// mayWrite says why documents of the region cannot be written now.
func (n node) mayWrite() error {
	r := n.h.current()
	switch {
	case r == nil:
		return fmt.Errorf("%w: %s", admin.ErrUnavailable, n.h.reason())
	case !r.Hosting():
		return documentError(errNotHosted)
	case r.State().Level() < home.LevelOf(home.KindSetDocument):
		return documentError(errDocumentLevel)
	}
	return nil
}

// documentError says in the API's words why a document was not written.
func documentError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDocumentChanged):
		return admin.Refuse("changed", "somebody else changed it meanwhile", "look at it again, and repeat")
	case errors.Is(err, errDocumentFull):
		return admin.Refuse("full", err.Error(), "remove what is not needed")
	case errors.Is(err, errDocumentLevel):
		return admin.Refuse("feature_level", err.Error(), "causeway ctl upgrade status")
	case errors.Is(err, errNotHosted), isStandby(err):
		return admin.Refuse("standby", "another region serves the home", "do it in that region (causeway ctl region status says which), or fail back first")
	case errors.Is(err, errNoHome):
		return fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	return err
}
