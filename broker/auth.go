package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"causeway/broker/packet"
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
	// PasswordFile holds user:bcrypt lines. "" : the method password admits nobody.
	PasswordFile string
	// ACLFile holds access rules in mochi's ledger form. "" : everybody may do everything.
	ACLFile string
	// CertSAN takes the user name from the first URI or DNS name of the certificate; otherwise it is the common name.
	CertSAN bool
	// BindClientID refuses a device whose client id is not the user name of its certificate, and gives it that one if
	// it has none.
	BindClientID bool
}

// Auth is the Authenticator of password file, client certificates and access rules.
type Auth struct {
	opt   AuthOptions
	state atomic.Pointer[authState] // replaced as a whole by Reload
	cache *loginCache
}

type authState struct {
	users map[string][]byte // bcrypt hashes
	rules *rules            // nil: everything is allowed
}

// NewAuth reads the files.
func NewAuth(opt AuthOptions) (*Auth, error) {
	a := &Auth{opt: opt, cache: newLoginCache()}
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload reads the files again. On error the rules in force stay. Connections that exist are not looked at again, but
// their next publish and subscribe are.
func (a *Auth) Reload() error {
	users, uerr := loadPasswords(a.opt.PasswordFile)
	rules, rerr := loadRules(a.opt.ACLFile)
	if err := errors.Join(uerr, rerr); err != nil {
		return err
	}
	a.state.Store(&authState{users: users, rules: rules})
	a.cache.forget()
	return nil
}

// Authenticate tries the listener's methods: the certificate first, then the password, then nothing at all. A device
// that comes with a password which is wrong is refused also where anonymous ones are admitted.
func (a *Auth) Authenticate(info *ConnectInfo) (Identity, packet.Code) {
	who := Identity{Namespace: info.Namespace, Remote: info.Remote}
	if info.Certificate != nil && slices.Contains(info.Methods, Cert) {
		return a.byCertificate(who, info)
	}
	if info.HasUsername && slices.Contains(info.Methods, Password) {
		if !a.cache.verify(a.state.Load().users, info) {
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
	who.Username = info.Certificate.Subject.CommonName
	if a.opt.CertSAN {
		who.Username = firstName(info.Certificate)
	}
	if who.Username == "" {
		return Identity{}, packet.NotAuthorized
	}
	if a.opt.BindClientID {
		if info.ClientID != "" && info.ClientID != who.Username {
			return Identity{}, packet.NotAuthorized
		}
		who.ClientID = who.Username
	}
	return who, packet.Success
}

func firstName(cert *x509.Certificate) string {
	if len(cert.URIs) > 0 {
		return cert.URIs[0].String()
	}
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames[0]
	}
	return ""
}

// Authorize asks the access rules.
func (a *Auth) Authorize(who *Identity, name string, write bool) bool {
	r := a.state.Load().rules
	return r == nil || r.allow(who, name, write)
}

// certificate returns the client certificate of a connection, if TLS verified it.
func certificate(nc net.Conn) *x509.Certificate {
	if w, ok := nc.(*wsConn); ok {
		nc = w.ws.NetConn()
	}
	t, ok := nc.(*tls.Conn)
	if !ok {
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
