package app_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"causeway/internal/app"
	"causeway/internal/config"
	"causeway/link"
	meshtls "causeway/tls"
)

// region is a one-node region in this process, on loopback sockets.
type region struct {
	*app.App
	stop func()
}

type testIdentity struct{ src *meshtls.Source }

func (i testIdentity) ServerTLS() *tls.Config            { return meshtls.ServerConfig(i.src) }
func (i testIdentity) ClientTLS(want string) *tls.Config { return meshtls.ClientConfig(i.src, want) }
func (i testIdentity) PeerRegion(s tls.ConnectionState) (string, error) {
	id, err := meshtls.PeerIdentity(s)
	return id.Region, err
}

var _ link.Identity = testIdentity{}

func load(t *testing.T, yaml string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, sources, err := config.Load(config.Options{File: file})
	if err == nil {
		err = sources.Explain(cfg.Validate())
	}
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func start(t *testing.T, yaml string, o app.Options) *region {
	t.Helper()
	return startUntil(t, yaml, o, func(a *app.App) bool { ok, _ := a.Ready(); return ok })
}

// startUntil starts a node and waits until it is as wanted, if that is said.
func startUntil(t *testing.T, yaml string, o app.Options, ready func(*app.App) bool) *region {
	t.Helper()
	o.Config = load(t, yaml)
	o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	a, err := app.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	r := &region{a, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})}
	t.Cleanup(func() { r.stop() })
	if ready != nil {
		await(t, "the node to be ready", func() bool { return ready(a) })
	}
	return r
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	_, _ = io.WriteString(os.Stderr, "")
	w.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func client(t *testing.T, addr net.Addr, id string, clean bool) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr.String()).SetClientID(id).SetCleanSession(clean).SetConnectTimeout(patience))
	if tok := c.Connect(); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatalf("connect %s: %v", id, tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func TestTwoRegions_AMessageCrossesOnce(t *testing.T) {
	dir := t.TempDir()
	ca, err := meshtls.CreateCA(filepath.Join(dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	us := t.TempDir()
	eu := t.TempDir()
	for name, d := range map[string]string{"eu": eu, "us": us} {
		is, err := meshtls.Issue(ca, meshtls.Identity{Region: name, Node: name + "-1"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := is.Write(d, "node", false); err != nil {
			t.Fatal(err)
		}
	}
	yaml := func(name, peer, d, dial string) string {
		return fmt.Sprintf(`
region: %s
data_dir: %s
identity: { cert: %s/node.pem, key: %s/node-key.pem, ca: %s/ca.pem }
listeners: [ { name: mqtt, type: mqtt, listen: "127.0.0.1:0", auth: [anonymous] } ]
admin: { socket: %s/s }
link: { listen: "127.0.0.1:0" }
links: [ { peer: %s %s } ]
`, name, filepath.Join(d, "data"), d, d, d, d, peer, dial)
	}
	b := start(t, yaml("us", "eu", us, ""), app.Options{})
	await(t, "the link's socket", func() bool { return b.Links().Endpoint().Addr() != nil })
	a := start(t, yaml("eu", "us", eu, fmt.Sprintf(", dial: [\"udp://%s\"]", b.Links().Endpoint().Addr())), app.Options{})
	await(t, "the link", func() bool { return a.Links().Status()[0].State == link.Up })

	got := make(chan string, 100)
	sub := client(t, b.Addr("mqtt"), "sub", false)
	if tok := sub.Subscribe("t/#", 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	await(t, "interest to cross", func() bool { p, _ := a.State().Peer("us"); return p.Filters == 1 })
	pub := client(t, a.Addr("mqtt"), "pub", true)
	for i := range 50 {
		if tok := pub.Publish("t/1", 1, false, fmt.Sprint(i)); !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	pub.Publish("unwanted", 1, false, "x").Wait()
	for i := range 50 {
		select {
		case m := <-got:
			if m != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", m, i)
			}
		case <-time.After(patience):
			t.Fatalf("message %d did not come", i)
		}
	}
	if n := a.Links().Status()[0].Counters.MessagesOut; n != 50 {
		t.Errorf("%d messages crossed, want 50: what nobody wants stays", n)
	}
}
