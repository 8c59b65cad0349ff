package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/internal/health"
)

// Tokens are those that the region keeps, beside the token files of its nodes.
type Tokens interface {
	Tokens() ([]Token, error)
	// AddToken keeps the hash of a token; RevokeToken forgets it, on all nodes.
	AddToken(ctx context.Context, t Token, hash, by string, dryRun bool) ([]string, error)
	RevokeToken(ctx context.Context, name, by string, dryRun bool) ([]string, error)
	// TokenOf finds a token by its SHA-256, as hexadecimal digits. It answers from memory.
	TokenOf(hash string) (Token, bool)
}

// Token admits callers over TCP.
type Token struct {
	Name   string     `json:"name"`
	Role   string     `json:"role"`
	Origin string     `json:"origin"` // file, region
	At     *time.Time `json:"at"`     // when it was added; null for those of a file
	By     string     `json:"by"`
}

// TokenAdded is a token that was made. The token is told once and kept nowhere.
type TokenAdded struct {
	Action  string   `json:"action"`
	Target  string   `json:"target"`
	DryRun  bool     `json:"dry_run"`
	Effects []string `json:"effects"`
	Token   string   `json:"token"` // "" with dry_run
}

func (a *api) listTokens(of HomeConfig, _ *http.Request, q *query) (any, error) {
	items, err := of.Tokens()
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	if a.tokens != nil && q.text("home") == "" {
		for _, e := range a.tokens.known() {
			items = append(items, Token{Name: e.name, Role: e.role.String(), Origin: OriginFile})
		}
	}
	slices.SortFunc(items, func(x, y Token) int { return strings.Compare(x.Name+"\x00"+x.Origin, y.Name+"\x00"+y.Origin) })
	return Page[Token]{Items: list(items)}, nil
}

func (a *api) addToken(of HomeConfig, r *http.Request, q *query) (any, error) {
	name, dry := r.PathValue("name"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	role, err := parseRole(q.text("role"))
	if err != nil {
		return nil, badRequest("give role", "%s", err)
	}
	token, line, err := NewToken(name, role)
	if err != nil {
		return nil, badRequest("give another name", "%s", err)
	}
	hash := line[strings.LastIndexByte(line, ':')+1:]
	effects, err := of.AddToken(r.Context(), Token{Name: name, Role: role.String()}, hash, by(r), dry)
	if err != nil {
		return nil, fmt.Errorf("token %s: %w", name, err)
	}
	if dry {
		token = ""
	}
	return TokenAdded{Action: "add token", Target: name, DryRun: dry, Effects: list(effects), Token: token}, nil
}

func (a *api) revokeToken(of HomeConfig, r *http.Request, q *query) (any, error) {
	name, dry := r.PathValue("name"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := of.RevokeToken(r.Context(), name, by(r), dry)
	if err != nil {
		return nil, fmt.Errorf("token %s: %w", name, err)
	}
	return Change{Action: "revoke token", Target: name, DryRun: dry, Effects: list(effects)}, nil
}

// regionToken finds the caller of a token that the region keeps.
func (s *Server) regionToken(token string) (caller, bool) {
	sum := sha256.Sum256([]byte(token))
	t, ok := s.node.TokenOf(hex.EncodeToString(sum[:]))
	if !ok {
		return caller{}, false
	}
	role, err := parseRole(t.Role)
	return caller{name: t.Name, role: role}, err == nil
}

// glassFor is for how long it stays an alarm that a break-glass user was here.
const glassFor = time.Hour

// glass are the users for the night in which nothing else admits anybody: a file of this node, which needs no home, no
// region and no other node. Each use is an alarm and stands in the audit log, whatever was asked.
type glass struct {
	tokens *tokens
	health *health.Node

	mu   sync.Mutex
	who  string
	last time.Time
	uses int64
}

func openGlass(path string, h *health.Node) (*glass, error) {
	t, err := openTokens("admin.break_glass", path)
	if err != nil {
		return nil, err
	}
	g := &glass{tokens: t, health: h}
	h.Register("break-glass", g.check)
	return g, nil
}

// admit finds a break-glass user and sounds the alarm.
func (g *glass) admit(token string, now time.Time) (caller, bool, error) {
	who, ok, err := g.tokens.who(token)
	if !ok {
		return caller{}, false, err
	}
	who.name, who.glass = "break-glass/"+who.name, true
	g.mu.Lock()
	defer g.mu.Unlock()
	g.who, g.last = who.name, now
	g.uses++
	return who, true, nil
}

func (g *glass) check() health.Condition {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.uses == 0 || time.Since(g.last) > glassFor {
		return health.OK()
	}
	return health.Condition{State: health.Ready, Reason: fmt.Sprintf("%s called the admin API at %s, %d calls in all", g.who, g.last.UTC().Format(time.RFC3339), g.uses),
		Next: "causeway ctl audit list shows what was done; replace the token in admin.break_glass when the night is over"}
}
