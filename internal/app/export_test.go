package app

import (
	"context"
	"errors"
	"time"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/devices"
	"causeway/internal/health"
	"causeway/internal/home"
	"causeway/internal/readiness"
	"causeway/internal/supervise"
)

// Hand hands a home over that this node leads, with nobody to take it.
func (a *App) Hand(id home.ID, to string) error {
	for _, h := range a.homes {
		if r := h.opened.Load(); h.id == id && r != nil {
			return r.Hand(context.Background(), to)
		}
	}
	return errors.New("it is not open")
}

// Validity is what readiness says of a certificate.
var Validity = validity

// Documents are the documents of the region's own home.
func (a *App) Documents() Documents { return Documents{a.documents} }

// Documents gives tests the methods of documents.
type Documents struct{ *documents }

// The methods.
func (d Documents) Watch(ctx context.Context, prefix string, fn func(home.Document)) {
	d.watch(ctx, prefix, fn)
}

func (d Documents) Set(ctx context.Context, name string, seen uint64, body []byte, by, note string) (uint64, error) {
	return d.set(ctx, name, seen, body, by, note)
}

func (d Documents) Edit(ctx context.Context, name, by, note string, change func([]byte) ([]byte, error)) (uint64, error) {
	return d.edit(ctx, name, by, note, change)
}

// Errors of Set.
var (
	ErrDocumentChanged = errDocumentChanged
	ErrDocumentFull    = errDocumentFull
)

// Health is the state of the node.
func (a *App) Health() health.State { return a.health.Report().State }

// Service is the record of a part of the node.
func (a *App) Service(name string) (found supervise.Status) {
	for _, s := range a.tree.Status() {
		if s.Name == name {
			found = s
		}
	}
	return found
}

// What readiness says of a backup's age and of drills.
var (
	BackupAge = backupAge
	LastDrill = lastDrill
)

// Node is what the admin API asks.
func (a *App) Node() admin.Node { return a.node() }

// Events are those that the node remembers.
func (a *App) Events() []admin.Event { return a.events.After(0) }

// ReadyCRL is what readiness says of lists of revoked certificates, and JudgeCRL of one.
func (a *App) ReadyCRL() readiness.Result { return a.node().readyCRL(context.Background()) }

var JudgeCRL = judgeCRL

// Gate says who is let in.
func (a *App) Gate() broker.Gate { return a.watching }

// Jail bans a device as the node does by itself.
func (a *App) Jail(ctx context.Context, namespace, id string) error {
	return a.watching.edit(ctx, "node", jailing, time.Now(), func(list []devices.Ban) ([]devices.Ban, error) {
		return withBan(list, devices.Ban{Kind: devices.BanClient, Namespace: namespace, Value: id}), nil
	})
}
