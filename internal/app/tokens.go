package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"causeway/internal/admin"
	"causeway/internal/home"
)

// tokensDoc holds the region's tokens for the admin API: hashes, since the tokens are random.
const tokensDoc = "tokens"

const maxTokens = 1000

// keptToken is a token in the document.
type keptToken struct {
	Name string    `json:"name"`
	Role string    `json:"role"`
	Hash string    `json:"sha256"`
	At   home.Time `json:"at"`
	By   string    `json:"by"`
}

// regionTokens are the tokens as they were read last.
type regionTokens struct {
	mu   sync.Mutex
	at   uint64 // revision of the document
	list []keptToken
}

func (h *homeService) keptTokens() []keptToken {
	doc, _ := h.documents.get(tokensDoc)
	doc.Name = tokensDoc
	t := &h.tokens
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == doc.Revision {
		return t.list
	}
	t.at = doc.Revision
	switch list, err := readDocument[[]keptToken](doc); {
	case !h.documents.understood(doc, err): // who was admitted before is
	case list == nil:
		t.list = nil
	default:
		t.list = *list
	}
	return t.list
}

// Tokens implements admin.Tokens.
func (n node) Tokens() (list []admin.Token, err error) {
	for _, t := range n.h.keptTokens() {
		list = append(list, admin.Token{Name: t.Name, Role: t.Role, Origin: admin.OriginRegion, At: wall(n.h, t.At), By: t.By})
	}
	return list, nil
}

// TokenOf implements admin.Tokens. Hashes of random tokens give nothing away by how long they are compared.
func (n node) TokenOf(hash string) (admin.Token, bool) {
	for _, t := range n.a.home.keptTokens() {
		if t.Hash == hash {
			return admin.Token{Name: t.Name, Role: t.Role, Origin: admin.OriginRegion}, true
		}
	}
	return admin.Token{}, false
}

// AddToken implements admin.Tokens.
func (n node) AddToken(ctx context.Context, t admin.Token, hash, by string, dryRun bool) ([]string, error) {
	named := func(k keptToken) bool { return k.Name == t.Name }
	check := func(list []keptToken) error {
		switch {
		case slices.ContainsFunc(list, named):
			return admin.Refuse("exists", "there is a token "+t.Name, "revoke it first, or take another name")
		case len(list) >= maxTokens:
			return admin.Refuse("full", fmt.Sprintf("there are %d tokens", len(list)), "revoke those that nobody uses")
		}
		return nil
	}
	if err := check(n.h.keptTokens()); err != nil {
		return nil, err
	}
	effects := []string{"it admits with the role " + t.Role + " at every node of the region that has admin.listen"}
	if !n.h.own() {
		effects = []string{"it admits with the role " + t.Role + " in the region " + string(n.h.id) + " once that serves its home again, and not here"}
	}
	if err := n.mayWrite(); err != nil || dryRun {
		return effects, err
	}
	return effects, n.editTokens(ctx, by, func(list []keptToken) ([]keptToken, error) {
		return append(list, keptToken{t.Name, t.Role, hash, n.h.homeNow(), by}), check(list)
	})
}

// RevokeToken implements admin.Tokens.
func (n node) RevokeToken(ctx context.Context, name, by string, dryRun bool) ([]string, error) {
	named := func(k keptToken) bool { return k.Name == name }
	if !slices.ContainsFunc(n.h.keptTokens(), named) {
		return nil, fmt.Errorf("%w: the region has no token %s; one of a token file is removed there", admin.ErrNotFound, name)
	}
	effects := []string{"nobody is admitted by it any more"}
	if err := n.mayWrite(); err != nil || dryRun {
		return effects, err
	}
	return effects, n.editTokens(ctx, by, func(list []keptToken) ([]keptToken, error) { return slices.DeleteFunc(list, named), nil })
}

func (n node) editTokens(ctx context.Context, by string, change func([]keptToken) ([]keptToken, error)) error {
	_, err := n.h.documents.edit(ctx, tokensDoc, by, "", func(body []byte) ([]byte, error) {
		var list []keptToken
		if len(body) > 0 {
			if err := json.Unmarshal(body, &list); err != nil {
				return nil, err
			}
		}
		list, err := change(list)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		return json.Marshal(list)
	})
	return documentError(err)
}
