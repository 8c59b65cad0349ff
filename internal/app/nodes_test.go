package app_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/health"
	"causeway/internal/home"
	meshtls "causeway/tls"
)

// nodes are a region of three in this process. at is by the number of the node; 0 is not used.
type nodes struct {
	t     *testing.T
	at    [4]*region
	ca    *meshtls.CA
	lists string    // folder of the authority's list
	cert  [4]string // file of the node's certificate
}

// startThree starts three nodes; more is what the file of a node has beside.
func startThree(t *testing.T, more func(n int) string) *nodes {
	t.Helper()
	ca, err := meshtls.CreateCA(filepath.Join(t.TempDir(), "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &nodes{t: t, ca: ca, lists: t.TempDir()}
	list, err := ca.Revoke(c.lists, meshtls.RevokeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "gossip")
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	var gossip, streams [4]string
	for n := 1; n <= 3; n++ {
		gossip[n], streams[n] = freeTCP(t), freeTCP(t)
	}
	for n := 1; n <= 3; n++ {
		d := t.TempDir()
		is, err := meshtls.Issue(ca, meshtls.Identity{Region: "eu", Node: fmt.Sprint("eu-", n)}, time.Hour)
		if err == nil {
			_, err = is.Write(d, "node", false)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.cert[n] = filepath.Join(d, "node.pem")
		yaml := fmt.Sprintf(`
region: eu
node: eu-%d
data_dir: %s
identity: { cert: %s/node.pem, key: %s/node-key.pem, ca: %s/ca.pem, crl: [%s] }
cluster: { listen: %q, streams: %q, advertise: 127.0.0.1, join: { nodes: [%s] }, gossip_key: "file:%s" }
listeners: [ { name: mqtt, type: mqtt, listen: "127.0.0.1:0", auth: [anonymous] } ]
admin: { socket: %s/s }
stop_notice: 0s
%s
`, n, filepath.Join(d, "data"), d, d, d, list, gossip[n], streams[n], strings.Join(gossip[1:], ", "), key, d, more(n))
		c.at[n] = startUntil(t, yaml, app.Options{Build: admin.Build{Version: "v0.1.0"}}, nil)
	}
	for n := 1; n <= 3; n++ {
		c.await(n)
	}
	return c
}

func freeTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *nodes) await(n int) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("eu-%d to be ready", n), func() bool {
		return c.at[n].Health() == health.Ready && c.at[n].State().Level() >= home.LevelOf(home.KindSetDocument)
	})
}

// A file is entered only if every node can have it in force; who does not answer is said.
func TestApply_EveryNodeIsAsked(t *testing.T) {
	c := startThree(t, func(n int) string {
		if n == 2 {
			return ""
		}
		return "link: { listen: \"127.0.0.1:0\", listen_tcp: \"\" }\nlinks: [ { peer: us, dial: [\"udp://127.0.0.1:9\"] } ]"
	})
	apply := func(dry bool) (admin.ObjectsChange, error) {
		return c.at[1].Node().ApplyObjects(t.Context(), admin.ObjectsFile{Name: "f", Text: "links: [ { peer: us, out: [\"a/#\"] } ]\n"}, admin.ApplyOptions{By: "alice", DryRun: dry})
	}
	for _, dry := range []bool{true, false} {
		var no *admin.Refused
		if said, err := apply(dry); !errors.As(err, &no) || len(no.Reasons) != 1 || no.Reasons[0].Condition != "judged" || !strings.HasPrefix(no.Reasons[0].Reason, "node eu-2 cannot have it in force: f:1: links[0].peer: the node file has no link") {
			t.Fatalf("with a node that has no such link: %q, %v", said.Effects, err)
		}
	}
	if _, ok := c.at[1].State().Document("objects"); ok {
		t.Error("it was entered all the same")
	}
	c.at[2].stop()
	done, err := apply(false)
	if err != nil || !strings.Contains(strings.Join(done.Effects, "\n"), "node eu-2 did not say whether it can have it in force: ") {
		t.Errorf("with a node that does not answer: %q, %v", done.Effects, err)
	}
}
