package broker

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"gopkg.in/yaml.v3"

	"causeway/routing"
)

// rules are access rules in the form of mochi's ledger:
//
//	acl:
//	  - username: "sensor*"        # client, username, remote; a * at the end matches any rest; left out: everybody
//	    filters: { "plant/#": 2 }  # 0 deny, 1 subscribe, 2 publish, 3 both
//	users:
//	  alice: { acl: { "alice/#": 3 } }
//
// The first rule that says something about a name decides; within a rule a grant beats a denial. Three things differ
// from mochi: what no rule grants is denied (mochi allows it, so a forgotten rule is an open door); the rules of users
// are applied in a fixed order (mochi walks a map, so two filters that overlap decide by chance); and a subscription
// with wildcards needs one grant that covers all of it (mochi compares the filter as if it were a topic, so "#" passes
// a rule that denies "secret/#").
type rules struct {
	ledger *auth.Ledger // users moved into ACL; not changed after loading
}

const maxRulesFile = 16 << 20 // bytes

// ledgerFile is the file; its other sections (mochi's own logins) are refused so that nobody relies on them.
type ledgerFile struct {
	ACL   auth.ACLRules            `yaml:"acl"`
	Users map[string]auth.UserRule `yaml:"users"`
}

func loadRules(path string) (*rules, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the access rules: %w", err)
	}
	if len(data) > maxRulesFile {
		return nil, fmt.Errorf("read the access rules: %s has %d bytes, at most %d", path, len(data), maxRulesFile)
	}
	r, err := parseRules(data)
	if err != nil {
		return nil, fmt.Errorf("access rules in %s: %w", path, err)
	}
	return r, nil
}

func parseRules(data []byte) (*rules, error) {
	var f ledgerFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && len(bytes.TrimSpace(data)) > 0 {
		return nil, err
	}
	ledger := &auth.Ledger{}
	for name, u := range f.Users {
		if u.Password != "" || u.Disallow {
			return nil, fmt.Errorf("users.%s has a password or disallow; logins are in the password file", name)
		}
		if strings.Contains(name, "*") {
			return nil, fmt.Errorf("users.%s: a user name here has no wildcard; write a rule under acl", name)
		}
		if len(u.ACL) > 0 {
			ledger.ACL = append(ledger.ACL, auth.ACLRule{Username: auth.RString(name), Filters: u.ACL})
		}
	}
	ledger.ACL = append(ledger.ACL, f.ACL...)
	for i, rule := range ledger.ACL {
		for filter, access := range rule.Filters {
			if err := routing.ValidFilter(string(filter)); err != nil {
				return nil, fmt.Errorf("rule %d: %w", i, err)
			}
			if access > auth.ReadWrite {
				return nil, fmt.Errorf("rule %d: %q has access %d; use 0 deny, 1 subscribe, 2 publish or 3 both", i, filter, access)
			}
		}
	}
	ledger.ACL = append(ledger.ACL, auth.ACLRule{Filters: auth.Filters{"#": auth.Deny}})
	return &rules{ledger: ledger}, nil
}

// subjects are the values mochi's ledger wants to see a device in.
var subjects = sync.Pool{New: func() any { return &mqtt.Client{} }}

func (r *rules) allow(who *Identity, name string, write bool) bool {
	if !write && strings.ContainsAny(name, "+#") {
		return r.allowFilter(who, name)
	}
	cl := subjects.Get().(*mqtt.Client)
	defer subjects.Put(cl)
	cl.ID, cl.Net.Remote = who.ClientID, who.Remote
	cl.Properties.Username = append(cl.Properties.Username[:0], who.Username...)
	_, ok := r.ledger.ACLOk(cl, name, write)
	return ok
}

// allowFilter is allow for a subscription with wildcards.
func (r *rules) allowFilter(who *Identity, filter string) bool {
	for _, rule := range r.ledger.ACL {
		if !rule.Client.Matches(who.ClientID) || !rule.Username.Matches(who.Username) || !rule.Remote.Matches(who.Remote) {
			continue
		}
		if len(rule.Filters) == 0 {
			return true
		}
		touched := false
		for f, access := range rule.Filters {
			if access&auth.ReadOnly != 0 && routing.Covers(string(f), filter) {
				return true
			}
			touched = touched || routing.Overlaps(string(f), filter)
		}
		if touched {
			return false
		}
	}
	return false
}
