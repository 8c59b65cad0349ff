package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"causeway/internal/config"
	"causeway/internal/group"
	meshtls "causeway/tls"
)

// certificateCheck is how often certificate files are read again.
const certificateCheck = 30 * time.Second

// identities are the node's certificates: towards other regions, and of its
// device listeners. Files that change are taken up without a restart.
type identities struct {
	a       *App
	mesh    *meshtls.Source // nil without links
	devices []listenerTLS
	looked  chan struct{} // signalled when lists of revoked certificates changed
}

// listenerTLS is the TLS of one device listener.
type listenerTLS struct {
	name string
	*meshtls.Device
}

func (a *App) newIdentities() error {
	a.certs = &identities{a: a, looked: make(chan struct{}, 1)}
	id := a.cfg.Identity
	if !id.Configured() {
		return nil
	}
	src, err := meshtls.Load(id.Cert, id.Key, id.CA)
	if err != nil {
		return err
	}
	a.certs.mesh = src
	if err := src.Revocations().Set(a.meshLists(a.cfg)); err != nil {
		return fmt.Errorf("identity.crl: %w", err)
	}
	return src.Expect(a.cfg.Region, a.cfg.Node)
}

// device loads the certificate of a listener.
func (i *identities) device(l *config.Listener) (*tls.Config, error) {
	o := meshtls.DeviceOptions{CertFile: l.TLS.Cert, KeyFile: l.TLS.Key, ClientCAFiles: l.TLS.ClientCA, ClientCertOptional: !onlyCert(l), MinVersion: l.TLS.MinVersion}
	if l.TLS.TicketKeys == config.TicketsRegion {
		o.Tickets = l.Name
	}
	d, err := meshtls.NewDevice(o)
	if err != nil {
		return nil, err
	}
	if err := d.Revocations().Set(i.a.deviceLists(l)); err != nil {
		return nil, fmt.Errorf("tls.crl: %w", err)
	}
	i.devices = append(i.devices, listenerTLS{l.Name, d})
	return d.Config(), nil
}

// onlyCert says whether a device has no other way to prove who it is.
func onlyCert(l *config.Listener) bool { return len(l.Auth) == 1 && l.Auth[0] == config.AuthCert }

// reload reads all files again. What cannot be read stays as it was.
func (i *identities) reload() (changed bool, err error) {
	note := func(one bool, e error) {
		changed, err = changed || one, errors.Join(err, e)
	}
	if i.mesh != nil {
		note(i.mesh.Reload())
	}
	for _, d := range i.devices {
		note(d.Reload())
	}
	return changed, err
}

// watch takes up changed files until ctx ends.
func (i *identities) watch(ctx context.Context) error {
	meshtls.Watch(ctx, certificateCheck, i.reload, func(changed bool, err error) {
		switch {
		case err != nil:
			i.a.log.Warn("certificates", "problem", err)
		case changed:
			i.a.log.Info("certificates replaced by what the files hold now")
		default:
			i.a.log.Info("certificates can be read again")
		}
		if changed {
			group.Wake(i.looked)
		}
	})
	return nil
}

// The Identity of links.

// ServerTLS is for tunnels that peers dial.
func (i *identities) ServerTLS() *tls.Config { return meshtls.ServerConfig(i.mesh) }

// ClientTLS is for tunnels to a peer.
func (i *identities) ClientTLS(wantRegion string) *tls.Config {
	return meshtls.ClientConfig(i.mesh, wantRegion)
}

// resetKey is the key of QUIC's stateless resets: it has to be secret and the
// same after a restart, as the private key is that it is derived from.
func (i *identities) resetKey() (key [32]byte, err error) {
	if i.mesh == nil {
		return key, nil
	}
	pem, err := os.ReadFile(i.mesh.Files().Key)
	if err != nil {
		return key, fmt.Errorf("derive the link's reset key: %w", err)
	}
	mac := hmac.New(sha256.New, pem)
	mac.Write([]byte("causeway: QUIC stateless reset"))
	return [32]byte(mac.Sum(nil)), nil
}

// PeerRegion reads the region from a peer's certificate.
func (i *identities) PeerRegion(s tls.ConnectionState) (string, error) {
	id, err := meshtls.PeerIdentity(s)
	return id.Region, err
}

// The Identity of the streams between nodes of the region.

// NodeServerTLS is for streams that other nodes open.
func (i *identities) NodeServerTLS() *tls.Config { return meshtls.ServerConfig(i.mesh) }

// NodeClientTLS is for streams to a node of our region.
func (i *identities) NodeClientTLS(node string) *tls.Config {
	conf := meshtls.ClientConfig(i.mesh, i.a.cfg.Region)
	verify := conf.VerifyConnection
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		if err := verify(s); err != nil {
			return err
		}
		id, err := meshtls.PeerIdentity(s)
		if err == nil && id.Node != node {
			err = fmt.Errorf("the address of node %s leads to node %s: give each node an address and a certificate of its own", node, id.Node)
		}
		return err
	}
	return conf
}

// PeerNode reads region and node from a peer's certificate.
func (i *identities) PeerNode(s tls.ConnectionState) (region, node string, err error) {
	id, err := meshtls.PeerIdentity(s)
	return id.Region, id.Node, err
}
