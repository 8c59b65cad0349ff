package config

import (
	"strings"
	"testing"
	"time"
)

func TestLeaf(t *testing.T) {
	const head = "region: plant-12\nleaf: true\nidentity: { cert: a, key: b, ca: c }\n"
	const hub = "links: [{ peer: eu, dial: [\"udp://eu.example.com:7444\", \"tcp://eu.example.com:7445\"] }"
	for name, tc := range map[string]struct{ text, want string }{
		"one hub":              {hub + "]", ""},
		"another behind it":    {hub + ", { peer: us, dial: [\"relay://eu\"] }]", ""},
		"two hubs":             {hub + ", { peer: us, dial: [\"udp://us:7444\"] }]", "links: has 2 peers with addresses of their own; a leaf has one, its hub"},
		"no hub":               {"links: []", "links: has no hub"},
		"a hub that dials":     {"links: [{ peer: eu }]", "links[0].dial: is empty, and nobody dials a leaf"},
		"several nodes":        {hub + "]\ncluster: { join: { nodes: [a] }, gossip_key: \"file:k\" }", "cluster: is set, and leaf says that the region has one node"},
		"connections only":     {hub + "]\nrole: replicant\ncluster: { join: { nodes: [a] }, gossip_key: \"file:k\" }", "role: is replicant, and leaf says"},
		"a relay":              {hub + ", { peer: us, dial: [\"relay://eu\"] }]\nlink: { relay: [{ between: [eu, us] }] }", "link.relay: is set, and a leaf relays for nobody"},
		"with a broker beside": {hub + ", { kind: mqtt, name: old, address: [\"mqtt://127.0.0.1:1884\"], direction: in, filters: [\"v/#\"] }]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := mustLoad(t, Options{File: writeFile(t, head+tc.text)})
			err := cfg.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	cfg, _ := mustLoad(t, Options{File: writeFile(t, head+hub+"]")})
	if l := cfg.Links[0]; cfg.Link.Listen != "" || cfg.Link.ListenTCP != "" || l.Spool.Age != 7*24*time.Hour || l.Spool.Bytes != 4<<30 || cfg.Limits.QueueBytes != 64<<20 {
		t.Errorf("a leaf has %+v, %+v, %+v", cfg.Link, l, cfg.Limits)
	}
	cfg, _ = mustLoad(t, Options{File: writeFile(t, head+strings.Replace(hub, "peer: eu", "peer: eu, spool: { age: 1h }", 1)+"]\nlink: { listen: \":7444\" }")})
	if cfg.Links[0].Spool.Age != time.Hour || cfg.Link.Listen != ":7444" {
		t.Errorf("what the file says was not taken: %+v, %+v", cfg.Link, cfg.Links[0])
	}
}
