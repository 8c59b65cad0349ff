package config

import (
	"strings"
	"testing"
	"time"
)

// nodeWithLink is a node with a link to us.
func nodeWithLink(t *testing.T) *Config {
	t.Helper()
	node := Default()
	node.Region, node.Node = "eu", "eu-1"
	node.Identity = Identity{Cert: "a", Key: "b", CA: "c"}
	l := Link{Peer: "us", Dial: []string{"udp://us:7444"}}
	l.fill("links[0].", "eu", func(string) bool { return true })
	node.Links = []Link{{Kind: LinkMQTT, Name: "old", Address: []string{"mqtt://b:1883"}, Direction: DirectionIn}, l}
	node.Links[0].fill("links[0].", "eu", func(k string) bool { return k != "links[0].kind" })
	if err := node.Validate(); err != nil {
		t.Fatal(err)
	}
	return node
}

func TestObjects_ReplaceSectionsOfTheNodeFile(t *testing.T) {
	node := nodeWithLink(t)
	o, err := ParseObjects("region.yaml", []byte(`
limits: { queue_messages: 1000, session_expiry_max: 1d }
ack: [{ filter: "telemetry/#", policy: memory }, { filter: "#" }]
namespaces: [{ name: cars, quota: { connections: 800, publish: 80/s, queued: 1GiB, retained: 20 } }]
takeover: { will_grace: 2m }
links: [{ peer: us, in: ["cmd/#"], spool: { bytes: 1GiB } }]
acl: [{ username: "sensor*", publish: ["plant/#"] }, { name: rest, deny: ["#"] }]
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Over(node)
	if err != nil {
		t.Fatal(err)
	}
	if l := got.Limits; l.QueueMessages != 1000 || l.SessionExpiryMax != 24*time.Hour || l.Packet != 2<<20 {
		t.Errorf("limits %+v", l)
	}
	if a := got.Ack; len(a) != 2 || a[0].Policy != AckMemory || a[1].Policy != AckRegion {
		t.Errorf("ack %+v", a)
	}
	if q := got.Namespaces[0].Quota; q != (Quota{800, 80, 1 << 30, 20}) {
		t.Errorf("quota %+v", q)
	}
	if tk := got.Takeover; tk.WillGrace != 2*time.Minute || tk.DownAfter != node.Takeover.DownAfter || tk.Lease != node.Takeover.Lease {
		t.Errorf("takeover %+v", tk)
	}
	if l := got.Links[1]; l.Dial[0] != "udp://us:7444" || l.In[0] != "cmd/#" || l.Out[0] != "#" || l.Spool.Bytes != 1<<30 || l.Spool.Age != 72*time.Hour || !l.Retained {
		t.Errorf("link %+v", l)
	}
	if got.ACL[0].Name != "acl[0]" || got.ACL[1].Name != "rest" {
		t.Errorf("acl %+v", got.ACL)
	}
	if node.Links[1].In[0] != "#" || node.Limits.QueueMessages != 100_000 || len(node.ACL) > 0 {
		t.Error("the node's own configuration was changed")
	}
	if o.Has("shared") || !o.Has("acl") {
		t.Errorf("sections %v", o.Sections())
	}
	var none *Objects
	if same, err := none.Over(node); err != nil || len(Differences(node, same)) > 0 {
		t.Errorf("no objects: %v", err)
	}
}

func TestObjects_ProblemsNameTheLine(t *testing.T) {
	node := nodeWithLink(t)
	for text, want := range map[string]string{
		"listeners: []":                                  "f:1: listeners: unknown key; it belongs into the node file",
		"takeover:\n  lease: 3s":                         "f:2: takeover.lease: unknown key; it belongs into the node file",
		"limit: {}":                                      "f:1: limit: unknown key; did you mean limits?",
		"limits:\n  queue_messages: 0":                   "f:2: limits.queue_messages: 0 is out of range",
		"links:\n- peer: us\n  in: [\"a/#/b\"]":          `f:3: links[0].in[0]: "a/#/b" is no topic filter`,
		"links:\n- peer: ap":                             `f:2: links[0].peer: the node file has no link to "ap"`,
		"links:\n- peer: old":                            `f:2: links[0].peer: "old" is a foreign broker`,
		"links:\n- peer: us\n- peer: us":                 `f:3: links[1].peer: "us" is also links[0].peer`,
		"links:\n- peer: us\n  dial: []":                 "f:3: links[0].dial: unknown key; it belongs into the node file",
		"acl:\n- {name: a}\n- {name: a}":                 `f:3: acl[1].name: "a" is also acl[0].name`,
		"acl:\n- {username: \"a*b\"}":                    `f:2: acl[0].username: "a*b" has a * that is not at its end`,
		"acl:\n- {deny: [\"$share/g/a\"]}":               `f:2: acl[0].deny[0]: "$share/g/a" is a shared subscription`,
		"namespaces:\n- {name: A}":                       `f:2: namespaces[0].name: "A" is no name`,
		"namespaces:\n- {name: a, quota: {publish: -1}}": "f:2: namespaces[0].quota.publish",
		"ack: [{filter: '#', policy: standby}]":          "f:1: ack[0].policy: is standby, and no region stands by eu",
		"a: b: c":                                        "f:1: not YAML",
	} {
		o, err := ParseObjects("f", []byte(text))
		if err == nil {
			_, err = o.Over(node)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestObjects_WhatIsPrintedIsReadAsTheSame(t *testing.T) {
	node := nodeWithLink(t)
	first, err := ParseObjects("f", []byte("acl: [{name: a, publish: [x], deny: ['y/#']}]\nlinks: [{peer: us, never: [p], rate: 1MB/s}]\nnamespaces: [{name: n, quota: {publish: 5/s}}]\nack: [{filter: x, policy: memory}]"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := first.Over(node)
	if err != nil {
		t.Fatal(err)
	}
	b, err := RegionYAML(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := ParseObjects("again", b)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	again, err := second.Over(node)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if d := Differences(cfg, again); len(d) > 0 {
		t.Errorf("differs: %v\n%s", d, b)
	}
	if _, err := RegionYAML(cfg, "listeners"); err == nil {
		t.Error("a section of one node was printed")
	}
}

func TestDifferences_GoByName(t *testing.T) {
	node := nodeWithLink(t)
	over := func(text string) *Config {
		o, err := ParseObjects("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := o.Over(node)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	a := over("acl: [{name: a, publish: [x]}, {name: b, publish: [y]}]\nlimits: {queue_messages: 5}")
	b := over("acl: [{name: c}, {name: a, publish: [x]}, {name: b, publish: [z]}]\nlimits: {queue_messages: 6}")
	var got []string
	for _, d := range Differences(a, b) {
		if d.To != `""` && d.To != "[]" {
			got = append(got, d.Key+" "+d.From+">"+d.To)
		}
		if node := strings.HasPrefix(d.Key, "acl"); d.Node() != node {
			t.Errorf("%s: of one node %v", d.Key, d.Node())
		}
	}
	want := `acl (order) a, b>c, a, b|acl[b].publish [y]>[z]|acl[c].name >c|limits.queue_messages 5>6`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}
