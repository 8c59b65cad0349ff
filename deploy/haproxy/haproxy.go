// Package haproxy holds the load balancer's configuration that a region is
// deployed with. The trial regions and the end-to-end tests run behind it.
//
// What it is not: it starts nothing.
package haproxy

import (
	_ "embed"
	"strings"
)

// Template is causeway.cfg.tmpl, a text/template over Values.
//
//go:embed causeway.cfg.tmpl
var Template string

// Values fill the template.
type Values struct {
	Listen string // host:port for devices
	Stats  string // path of HAProxy's own socket, which tells what it sees; "" for none
	Nodes  []Node
}

// Node is one node behind it.
type Node struct {
	Name   string
	MQTT   string // host:port of a listener with proxy_protocol: v2
	Health string // host:port of metrics.listen
}

// HealthPort is the port of Health, which is on the host of MQTT.
func (n Node) HealthPort() string { return n.Health[strings.LastIndexByte(n.Health, ':')+1:] }
