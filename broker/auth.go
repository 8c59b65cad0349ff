package broker

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// Method is one way a device may prove who it is.
type Method string

// The methods. Their names are those of the configuration.
const (
	Anonymous Method = "anonymous"
	Password  Method = "password"
	Cert      Method = "cert"
)

// ConnectInfo is what is known of a device that wants to connect.
type ConnectInfo struct {
	Listener    string
	Namespace   string
	Methods     []Method // of the listener
	Remote      string   // address, "" if unknown
	ClientID    string   // "" when the broker chooses it
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
	Certificate *x509.Certificate // verified; nil without one
	Deadline    time.Time         // the device must be connected by then
}

// Identity is who a device is. Access rules see it.
type Identity struct {
	Namespace string
	Username  string // "" when anonymous
	ClientID  string // as an answer of Authenticate: the id it has in place of its own; "" leaves that
	Remote    string
	// Home is the one that the device's session lives in, "" as long as that is not known.
	Home home.ID
}

// Authenticator decides who may connect and who may do what. Its methods are called from many goroutines.
type Authenticator interface {
	// Authenticate returns the identity and packet.Success, or BadUserNameOrPassword or NotAuthorized. It may take
	// long (bcrypt, a disk) but not beyond info.Deadline. It keeps no reference to info.Password.
	Authenticate(info *ConnectInfo) (Identity, packet.Code)
	// Authorize says whether the device may publish to a topic (write), or receive what a topic filter matches. It is
	// called per message and must be fast. It keeps no reference to name.
	Authorize(who *Identity, name string, write bool) bool
}

// allowAll is the Authenticator of a server without one.
type allowAll struct{}

func (allowAll) Authenticate(info *ConnectInfo) (Identity, packet.Code) {
	return Identity{Namespace: info.Namespace, Username: info.Username, Remote: info.Remote}, packet.Success
}

func (allowAll) Authorize(*Identity, string, bool) bool { return true }

// AuthOptions say where users and their rights come from.
type AuthOptions struct {
	// Home is the region's own: its rules are for devices whose session's home has none.
	Home home.ID
	// PasswordFile holds user:bcrypt lines. Without it, and without users of the region, the method password admits
	// nobody.
	PasswordFile string
	// ACLFile holds access rules in mochi's ledger form. "" : everybody may do everything.
	ACLFile string
	// Regional says that SetRegions is going to be called: until then nobody can be told who they are, and waits.
	Regional bool
	// CertUsername is the name in a device's certificate that is its user name. Default CommonName.
	CertUsername CertName
	// CertClientID is the one that is its client id, given to a device that comes without. "": none is.
	CertClientID CertName
	// BindClientID refuses a device with a certificate whose client id is not CertClientID.
	BindClientID bool
}

// CertName is a name in a certificate. Its values are those of the configuration.
type CertName string

// The names.
const (
	CommonName CertName = "${cn}"
	FirstURI   CertName = "${san.uri}"
	FirstDNS   CertName = "${san.dns}"
)

// of finds the name, "" if the certificate has none.
func (n CertName) of(cert *x509.Certificate) string {
	switch {
	case n == FirstURI && len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case n == FirstDNS && len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case n == CommonName || n == "":
		return cert.Subject.CommonName
	}
	return ""
}

// Auth is the Authenticator of password file, client certificates and access rules.
type Auth struct {
	opt   AuthOptions
	state atomic.Pointer[authState] // replaced as a whole
	cache *loginCache

	known     chan struct{} // closed when what is configured of the region is known
	knownOnce sync.Once

	mu     sync.Mutex // guards what the state is made of
	file   *rules     // nil: there is none
	users  map[string][]byte
	region map[home.ID]Region
}

// Region is what is configured of users and rights of a region, beside the files.
type Region struct {
	// Rules come before those of the file. nil: there are none, and what the file says holds.
	Rules *Rules
	// Users are hashes of passwords by user name. A user of the file is not looked up here.
	Users map[string]string
}

type authState struct {
	users map[string][]byte   // hashes, of the file
	more  []map[string][]byte // of regions
	rules map[home.ID]*rules  // nil: everything is allowed
}

func (s *authState) rulesOf(h, own home.ID) *rules {
	if r, ok := s.rules[h]; ok {
		return r
	}
	return s.rules[own]
}

// hash finds the hash of a user's password.
func (s *authState) hash(user string) ([]byte, bool) {
	if h, ok := s.users[user]; ok {
		return h, true
	}
	for _, m := range s.more {
		if h, ok := m[user]; ok {
			return h, true
		}
	}
	return nil, false
}

// NewAuth reads the files.
func NewAuth(opt AuthOptions) (*Auth, error) {
	a := &Auth{opt: opt, cache: newLoginCache(), known: make(chan struct{})}
	if !opt.Regional {
		close(a.known)
	}
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// ReloadFiles is Reload of other files.
func (a *Auth) ReloadFiles(password, acl string) error {
	oldPassword, oldACL := a.opt.PasswordFile, a.opt.ACLFile // the rest is read at each CONNECT, and not written
	a.opt.PasswordFile, a.opt.ACLFile = password, acl
	if err := a.Reload(); err != nil {
		a.opt.PasswordFile, a.opt.ACLFile = oldPassword, oldACL
		return err
	}
	return nil
}

// Reload reads the files again. On error the rules in force stay. Connections that exist are not looked at again, but
// their next publish and subscribe are.
func (a *Auth) Reload() error {
	users, uerr := loadPasswords(a.opt.PasswordFile)
	rules, rerr := loadRules(a.opt.ACLFile)
	if err := errors.Join(uerr, rerr); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users, a.file = users, rules
	a.build()
	a.cache.forget()
	return nil
}

// SetRegions replaces what is configured of homes that are served here, the region's own among them. Users of the own
// one come before those of others. Connections that exist are not looked at again, but their next publish and
// subscribe are.
func (a *Auth) SetRegions(of map[home.ID]Region) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.region = of
	a.build()
	if a.opt.Regional {
		a.knownOnce.Do(func() { close(a.known) })
	}
}

// FileUsers lists the users of the password file.
func (a *Auth) FileUsers() []string {
	users := a.state.Load().users
	list := make([]string, 0, len(users))
	for name := range users {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// wait waits until it is known what is configured of the region; false: that took too long.
func (a *Auth) wait(until time.Time) bool {
	select {
	case <-a.known:
		return true
	default:
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-a.known:
		return true
	case <-t.C:
		return false
	}
}

// build makes the state of what there is; the caller holds mu.
func (a *Auth) build() {
	was := a.state.Load()
	next := &authState{users: a.users, rules: map[home.ID]*rules{a.opt.Home: a.file}}
	ids := make([]home.ID, 0, len(a.region))
	for id := range a.region {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y home.ID) int {
		return cmp.Or(asIndex(y == a.opt.Home)-asIndex(x == a.opt.Home), cmp.Compare(x, y))
	})
	for _, id := range ids {
		var before *rules
		if was != nil {
			before = was.rules[id]
		}
		r := a.region[id]
		next.rules[id] = r.Rules.before(a.file, before)
		users := make(map[string][]byte, len(r.Users))
		for name, hash := range r.Users {
			users[name] = []byte(hash)
		}
		next.more = append(next.more, users)
	}
	a.state.Store(next)
}

// Authenticate tries the listener's methods: the certificate first, then the password, then nothing at all. A device
// that comes with a password which is wrong is refused also where anonymous ones are admitted.
func (a *Auth) Authenticate(info *ConnectInfo) (Identity, packet.Code) {
	who := Identity{Namespace: info.Namespace, Remote: info.Remote}
	if !a.wait(info.Deadline) {
		return Identity{}, packet.ServerUnavailable
	}
	if info.Certificate != nil && slices.Contains(info.Methods, Cert) {
		return a.byCertificate(who, info)
	}
	if info.HasUsername && slices.Contains(info.Methods, Password) {
		if !a.cache.verify(a.state.Load(), info) {
			return Identity{}, packet.BadUserNameOrPassword
		}
		who.Username = info.Username
		return who, packet.Success
	}
	if slices.Contains(info.Methods, Anonymous) {
		return who, packet.Success
	}
	if slices.Contains(info.Methods, Password) {
		return Identity{}, packet.BadUserNameOrPassword
	}
	return Identity{}, packet.NotAuthorized
}

func (a *Auth) byCertificate(who Identity, info *ConnectInfo) (Identity, packet.Code) {
	if who.Username = a.opt.CertUsername.of(info.Certificate); who.Username == "" {
		return Identity{}, packet.NotAuthorized
	}
	if a.opt.CertClientID == "" {
		return who, packet.Success
	}
	id := a.opt.CertClientID.of(info.Certificate)
	if a.opt.BindClientID && (id == "" || info.ClientID != "" && info.ClientID != id) {
		return Identity{}, packet.NotAuthorized
	}
	if info.ClientID == "" {
		who.ClientID = id
	}
	return who, packet.Success
}

// Authorize asks the access rules.
func (a *Auth) Authorize(who *Identity, name string, write bool) bool {
	r := a.state.Load().rulesOf(who.Home, a.opt.Home)
	return r == nil || r.allow(who, name, write)
}

// Decision is how a question to the access rules comes out.
type Decision struct {
	Allowed  bool
	Rule     string // that decided; "" if there are no rules
	Revision uint64 // of the region's rules; 0: the rule is of the file, or there are none
}

// Decide says what Authorize would, and by which rule. It counts nothing.
func (a *Auth) Decide(who *Identity, name string, write bool) Decision {
	r := a.state.Load().rulesOf(who.Home, a.opt.Home)
	if r == nil {
		return Decision{Allowed: true}
	}
	by, ok := r.decide(who, name, write)
	return Decision{ok, by.name, by.revision}
}

// Denial is what a rule has denied since it is in force.
type Denial struct {
	Home       home.ID
	Rule       string
	Revision   uint64 // of the region's rules; 0: of the file
	Publishes  int64
	Subscribes int64
}

// Denials lists the rules in force, in their order, with what they denied.
func (a *Auth) Denials() (list []Denial) {
	s := a.state.Load()
	ids := make([]home.ID, 0, len(s.rules))
	for id := range s.rules {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		r := s.rules[id]
		if r == nil {
			continue
		}
		for _, x := range append(slices.Clip(r.list), &r.rest) {
			list = append(list, Denial{id, x.name, x.revision, x.denied[1].Load(), x.denied[0].Load()})
		}
	}
	return list
}

// certificate returns the client certificate of a connection, if TLS verified it.
func certificate(nc net.Conn) *x509.Certificate {
	t := tlsConn(nc)
	if t == nil {
		return nil
	}
	chains := t.ConnectionState().VerifiedChains
	if len(chains) == 0 || len(chains[0]) == 0 {
		return nil
	}
	return chains[0][0]
}

// fileError names the file, the line and what to write there.
func fileError(path string, line int, why string) error {
	return fmt.Errorf("%s line %d: %s", path, line, why)
}
