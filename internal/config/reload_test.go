package config

import (
	"fmt"
	"testing"
)

func TestReload_SaysWhatCanBeTakenOver(t *testing.T) {
	old := nodeWithLink(t)
	next := *old
	if now, later := Reload(old, &next); len(now)+len(later) > 0 {
		t.Errorf("nothing changed: %v %v", now, later)
	}
	next.Log.Level = LogDebug
	next.Listeners = []Listener{old.Listeners[0]}
	next.Listeners[0].MaxConnections = 5
	next.Identity.CRL, next.Identity.CRLStale = []string{"crl.pem"}, CRLRefuse
	next.Listeners[0].TLS.CRL = []string{"crl.pem"}
	next.Limits.QueueMessages = 7
	next.ACL = []ACLRule{{Name: "a"}}
	next.Links = append([]Link{}, old.Links...)
	next.Links[1].Never = []string{"x"}
	now, later := Reload(old, &next)
	if len(later) > 0 {
		t.Errorf("kept until the next start: %v", later)
	}
	if want := "[{identity.crl [] [crl.pem]} {identity.crl_stale \"\" refuse} {listeners[0].tls.crl [] [crl.pem]} {listeners[0].max_connections 0 5} {limits.queue_messages 100000 7}"; fmt.Sprint(now)[:len(want)] != want {
		t.Errorf("%v", now)
	}
	for key, change := range map[string]func(*Config){
		"region":              func(c *Config) { c.Region = "us" },
		"listeners[0].listen": func(c *Config) { c.Listeners[0].Listen = ":1" },
		"admin.listen":        func(c *Config) { c.Admin.Listen = ":1" },
		"limits.packet":       func(c *Config) { c.Limits.Packet = 5000 },
		"takeover.lease":      func(c *Config) { c.Takeover.Lease++ },
		"links[1].dial":       func(c *Config) { c.Links[1].Dial = nil },
		"cluster.voters":      func(c *Config) { c.Cluster.Voters = 5 },
		"handover.enabled":    func(c *Config) { c.Handover.Enabled = true },
		"log.format":          func(c *Config) { c.Log.Format = LogJSON },
	} {
		next := *old
		next.Listeners, next.Links = append([]Listener{}, old.Listeners...), append([]Link{}, old.Links...)
		change(&next)
		if now, later := Reload(old, &next); len(now) > 0 || len(later) != 1 || later[0].Key != key || later[0].Reason == "" {
			t.Errorf("%s: %v %v", key, now, later)
		}
	}
}
