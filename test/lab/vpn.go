package lab

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// VPN is a WireGuard tunnel between the hosts of two sites, with an address of its own at each
// end. The emulator sees UDP between the two, and nothing of what is in it.
type VPN struct {
	n    *Network
	ends [2]*vpnEnd
}

type vpnEnd struct {
	site    *Site
	address string
	key     *ecdh.PrivateKey
	dev     *device.Device
}

const vpnPort = 51820

// VPN makes a tunnel from a to b, whose site must have a Router; packets in it are of at most mtu
// bytes. It lives as long as the test.
func (n *Network) VPN(a, b *Site, mtu int) *VPN {
	n.t.Helper()
	v := &VPN{n: n}
	for i, s := range [2]*Site{a, b} {
		v.ends[i] = &vpnEnd{site: s, address: fmt.Sprintf("10.83.0.%d", i+1), key: v.newKey()}
	}
	for _, e := range v.ends {
		v.open(e, mtu)
	}
	v.introduce()
	return v
}

// Addresses are those of the two ends.
func (v *VPN) Addresses() (a, b string) { return v.ends[0].address, v.ends[1].address }

// Rekey gives both ends other keys: what is on its way is lost, and they shake hands anew.
func (v *VPN) Rekey() {
	v.n.t.Helper()
	for _, e := range v.ends {
		e.key = v.newKey()
	}
	v.introduce()
}

// Down ends the tunnel while the path goes on, or brings it back.
func (v *VPN) Down(down bool) {
	v.n.t.Helper()
	e := v.ends[0]
	change := e.dev.Up
	if down {
		change = e.dev.Down
	}
	if err := e.site.host.do(change); err != nil { // a socket is opened where it is called
		v.n.t.Fatalf("wireguard at %s: %v", e.site.name, err)
	}
}

func (v *VPN) newKey() *ecdh.PrivateKey {
	v.n.t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		v.n.t.Fatal(err)
	}
	return k
}

// open makes one end's device. It and its socket belong to the host's namespace.
func (v *VPN) open(e *vpnEnd, mtu int) {
	v.n.t.Helper()
	err := e.site.host.do(func() error {
		dev, err := tun.CreateTUN("wg0", mtu)
		if err != nil {
			return err
		}
		e.dev = device.NewDevice(dev, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
		if err := e.dev.IpcSet(fmt.Sprintf("listen_port=%d\n", vpnPort)); err != nil {
			return err
		}
		return e.dev.Up()
	})
	if e.dev != nil {
		v.n.t.Cleanup(e.dev.Close)
	}
	if err != nil {
		v.n.t.Fatalf("wireguard at %s: %v", e.site.name, err)
	}
	v.n.command("ip", "-n", e.site.name, "addr", "add", e.address+"/24", "dev", "wg0")
	v.n.command("ip", "-n", e.site.name, "link", "set", "wg0", "up")
}

// introduce tells both ends the keys. The first knows where the second is, and keeps its NAT's
// mapping.
func (v *VPN) introduce() {
	v.n.t.Helper()
	for i, e := range v.ends {
		peer := v.ends[1-i]
		var b bytes.Buffer
		fmt.Fprintf(&b, "private_key=%s\nreplace_peers=true\npublic_key=%s\nallowed_ip=%s/32\n",
			hex.EncodeToString(e.key.Bytes()), hex.EncodeToString(peer.key.PublicKey().Bytes()), peer.address)
		if i == 0 {
			fmt.Fprintf(&b, "endpoint=%s:%d\npersistent_keepalive_interval=5\n", peer.site.Address(), vpnPort)
		}
		if err := e.dev.IpcSetOperation(&b); err != nil {
			v.n.t.Fatalf("wireguard at %s: %v", e.site.name, err)
		}
	}
}
