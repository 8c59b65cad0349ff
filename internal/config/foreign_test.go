package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLoad_ForeignLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "causeway.yaml")
	text := `region: eu
links:
  - { name: old-emqx, kind: mqtt, address: ["mqtts://old:8883"], direction: both, filters: ["v/#"], out: ["cmd/#"], username: bridge, password: "file:/run/secret" }
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, sources, err := Load(Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil { // a foreign link needs no identity
		t.Fatal(err)
	}
	l := cfg.ForeignLinks()[0]
	if len(cfg.RegionLinks()) != 0 || l.Peer != "old-emqx" || l.Connections != 8 || l.ClientID != "causeway-eu-old-emqx" || l.Canary != "causeway/canary/eu/old-emqx" {
		t.Errorf("%+v", l)
	}
	if !slices.Equal(l.In, []string{"v/#"}) || !slices.Equal(l.Out, []string{"cmd/#"}) {
		t.Errorf("in %q, out %q", l.In, l.Out)
	}
	var out bytes.Buffer
	if err := Print(&out, cfg, sources, Text); err != nil || !strings.Contains(out.String(), "old-emqx") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Each case breaks one thing in a link that is otherwise right. No message shows what may be a secret.
func TestValidate_ForeignLink(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Link)
		want   string
	}{
		{"right", func(*Link) {}, ""},
		{"one direction", func(l *Link) { l.Direction, l.In = DirectionOut, nil }, ""},
		{"no direction", func(l *Link) { l.Direction = "" }, `links[0].direction: "" is not accepted`},
		{"in against direction", func(l *Link) { l.Direction = DirectionOut }, "links[0].in: is set, but direction is out"},
		{"named like this region", func(l *Link) { l.Name, l.Peer = "local", "local" }, `links[0].name: "local" is this region's`},
		{"peer", func(l *Link) { l.Peer = "us" }, "links[0].peer: is set"},
		{"dial", func(l *Link) { l.Dial = []string{"udp://a:1"} }, "links[0].dial: is set"},
		{"classes", func(l *Link) { l.Spool.Classes = []SpoolClass{{"a", []string{"a"}}} }, "links[0].spool.classes: is set"},
		{"no address", func(l *Link) { l.Address, l.TLS = nil, LinkTLS{} }, "links[0].address: is missing"},
		{"password in the address", func(l *Link) { l.Address = append(l.Address, "mqtt://u:hunter2@b:1") }, "links[0].address[1]: is no broker's address"},
		{"tls without mqtts", func(l *Link) { l.Address = []string{"mqtt://b:1883"} }, "links[0].tls: is set, but no address is mqtts"},
		{"certificate without key", func(l *Link) { l.TLS.Cert = "c" }, "links[0].tls.key: and tls.cert belong together"},
		{"password in the file", func(l *Link) { l.Password = "hunter2" }, "links[0].password: is no reference"},
		{"password alone", func(l *Link) { l.Username = "" }, "links[0].username: is missing"},
		{"version", func(l *Link) { l.Version = "3" }, `links[0].version: "3" is not accepted`},
		{"keepalive", func(l *Link) { l.Keepalive = 1 }, "links[0].keepalive: 1ns is out of range"},
		{"connections", func(l *Link) { l.Connections = 0 }, "links[0].connections: 0 is out of range"},
		{"client id", func(l *Link) { l.ClientID = "a/b" }, `links[0].client_id: "a/b" is no client id`},
		{"filter", func(l *Link) { l.Filters = []string{"a#"} }, `links[0].filters[0]: "a#" is no topic filter`},
		{"shared", func(l *Link) { l.In = []string{"$share/g/a"} }, `links[0].in[0]: "$share/g/a" is a shared subscription`},
		{"canary", func(l *Link) { l.Canary = "x" }, `links[0].canary: "x" is no topic for canaries`},
		{"kind", func(l *Link) { l.Kind = "emqx" }, `links[0].kind: "emqx" is not accepted; want region or mqtt`},
		{"rate", func(l *Link) { l.Rate = 1e6 }, "links[0].kind: is mqtt, and in_prefix or rate is set, which are of links between regions; remove them"},
		{"region", func(l *Link) { l.Kind = LinkRegion }, "links[0].kind: is region, and keys of a foreign broker are set"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Default()
			l := Link{Name: "old", Kind: LinkMQTT, Address: []string{"mqtts://b:8883"}, Direction: DirectionBoth, Username: "u", Password: "file:p", TLS: LinkTLS{CA: "ca"}}
			l.fill("", "local", func(key string) bool { return key != "kind" && key != "name" })
			tc.change(&l)
			cfg.Links = []Link{l}
			cfg.Identity = Identity{Cert: "c", Key: "k", CA: "a"}
			err := cfg.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %s", err, tc.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}
