package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/app"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/store"
	"causeway/internal/takeover"
	"causeway/internal/takeover/agent"
	"causeway/internal/takeover/ledger"
	"causeway/link"
	meshtls "causeway/tls"
)

// A host of two voters, itself and a witness, has its lease over real tunnels; a witness
// whose directory is gone does not start, and one that starts again has kept its promise.
func TestWitness_GivesALeaseOverALink(t *testing.T) {
	dir := t.TempDir()
	ca, err := meshtls.CreateCA(filepath.Join(dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	port := freeUDP(t)
	cfg := witnessFile(t, dir, port, identityOf(t, ca, dir, "w1"))
	if _, err := app.NewWitness(app.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "causeway witness init") {
		t.Fatalf("without a directory: %v", err)
	}
	if err := app.InitWitness(store.DiskFS(), cfg); err != nil {
		t.Fatal(err)
	}
	a := hostOfTwo(t, ca, dir, port)
	for range 2 {
		w, err := app.NewWitness(app.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		stop := running(t, w.Run)
		await(t, "the host has a lease", func() bool { return a.Leased("eu") })
		stop()
		await(t, "the lease ends without the witness", func() bool { return !a.Leased("eu") })
	}
	book, err := ledger.Open(store.DiskFS(), cfg.DataDir, "w1")
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if all, _ := book.Load(t.Context()); all["eu"].Promised != (home.Epoch{Number: 1, Host: "eu"}) {
		t.Errorf("kept %+v", all)
	}
}

func identityOf(t *testing.T, ca *meshtls.CA, dir, region string) config.Identity {
	t.Helper()
	is, err := meshtls.Issue(ca, meshtls.Identity{Region: region, Node: region + "-1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f, err := is.Write(filepath.Join(dir, region+"-id"), region, false)
	if err != nil {
		t.Fatal(err)
	}
	return config.Identity{Cert: f.Cert, Key: f.Key, CA: f.CA}
}

func witnessFile(t *testing.T, dir, address string, id config.Identity) *config.Config {
	t.Helper()
	file := filepath.Join(dir, "w1.yaml")
	text := fmt.Sprintf("region: w1\ndata_dir: %s\nidentity: { cert: %s, key: %s, ca: %s }\nlink: { listen: %q }\n"+
		"regions: [{ name: eu }, { name: w1, witness: true }]\ntakeover: { down_after: 2s }\n", filepath.Join(dir, "w1"), id.Cert, id.Key, id.CA, address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(config.Options{File: file})
	if err == nil {
		err = cfg.ValidateWitness()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func freeUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// hostOfTwo runs an agent of the region eu, which reaches w1 at an address.
func hostOfTwo(t *testing.T, ca *meshtls.CA, dir, address string) *agent.Agent {
	t.Helper()
	id := identityOf(t, ca, dir, "eu")
	src, err := meshtls.Load(id.Cert, id.Key, id.CA)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := link.NewWitness(link.WitnessOptions{EndpointOptions: link.EndpointOptions{Region: "eu", Identity: testIdentity{src}, Logger: slog.New(slog.DiscardHandler),
		Listen: func() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:0") }},
		Peers:  []link.Peer{{Region: "w1", Calls: true, Dial: []string{"udp://" + address}}},
		Answer: func(context.Context, string, byte, []byte) ([]byte, error) { return nil, agent.ErrNotAtWork }})
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Init(store.DiskFS(), filepath.Join(dir, "eu"), "eu"); err != nil {
		t.Fatal(err)
	}
	book, err := ledger.Open(store.DiskFS(), filepath.Join(dir, "eu"), "eu")
	if err != nil {
		t.Fatal(err)
	}
	terms := takeover.Terms{Lease: 1600 * time.Millisecond, Hold: 1800 * time.Millisecond}
	votes, err := agent.NewVotes(agent.VotesOptions{Name: "eu", Book: book, Terms: terms, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Options{Region: "eu", Votes: votes, Caller: calls, Logger: slog.New(slog.DiscardHandler),
		Copies: []agent.Copy{stillCopy{agent.Settings{Voters: []string{"eu", "w1"}, DownAfter: 2 * time.Second, Policy: takeover.Policy{Mode: takeover.Auto, Terms: terms}}}}})
	if err != nil {
		t.Fatal(err)
	}
	stopCalls, stopAgent := running(t, calls.Run), running(t, a.Run)
	t.Cleanup(func() {
		stopAgent()
		stopCalls()
		_ = book.Close()
	})
	return a
}

// stillCopy is a copy in which nothing happens.
type stillCopy struct{ s agent.Settings }

func (c stillCopy) Home() home.ID { return "eu" }
func (c stillCopy) State() agent.CopyState {
	return agent.CopyState{Epoch: home.Epoch{Number: 1, Host: "eu"}, Leads: true, Settings: c.s, Silent: -1}
}
func (c stillCopy) Promote(context.Context, home.Epoch, bool) error { return agent.ErrElsewhere }
func (c stillCopy) Hand(context.Context, string) (uint64, error)    { return 0, agent.ErrElsewhere }
func (c stillCopy) Drain(context.Context, bool) error               { return nil }
func (c stillCopy) Retire(context.Context, home.Epoch) error        { return nil }

// running runs something until the returned function is called.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
