package arch

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports,Deps", "causeway/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// Forbidden edges: whoever matches from must not reach to, not even through
// others. A trailing /... stands for a tree.
var forbidden = []struct{ from, to, why string }{
	{"causeway/internal/home", "causeway/internal/...", "the home is pure: it replays from a log, anywhere"},
	{"causeway/internal/home", "os", "the home does not touch a disk"},
	{"causeway/internal/home", "net", "the home does not touch a network"},
	{"causeway/internal/home", "math/rand/v2", "the home is deterministic"},
	{"causeway/internal/home", "log/slog", "the home tells its Sink; it does not log"},
	{"causeway/routing", "causeway/internal/...", "routing is pure and stands alone"},
	{"causeway/routing", "causeway/broker", "routing is pure and stands alone"},
	{"causeway/routing", "net", "routing does not touch a network"},
	{"causeway/link/wire", "causeway/internal/...", "a codec knows formats, not state"},
	{"causeway/link/wire", "net", "a codec does not touch a network"},
	{"causeway/broker/packet", "causeway/internal/...", "a codec knows formats, not state"},
	{"causeway/broker", "causeway/link", "the broker asks for a Forwarder; who forwards is the app's choice"},
	{"causeway/broker", "causeway/internal/replica", "the broker asks for a Home; how it is kept is not its business"},
	{"causeway/internal/audit", "causeway/internal/home", "the audit log knows acts, not homes"},
	{"causeway/broker", "causeway/internal/store", "the broker has no disk"},
	{"causeway/broker", "causeway/tls", "identities of nodes and regions are not devices'"},
	{"causeway/link", "causeway/broker", "the link asks for a Local; who delivers is the app's choice"},
	{"causeway/link", "causeway/internal/replica", "the link asks for a Home; how it is kept is not its business"},
	{"causeway/link", "causeway/internal/store", "the link has no disk"},
	{"causeway/link", "causeway/tls", "identities come in by an interface; cmd and app make them"},
	{"causeway/link/foreign", "causeway/broker", "a client of brokers is none; it has the codec in common"},
	{"causeway/link/foreign", "causeway/internal/replica", "the link asks for a Home; how it is kept is not its business"},
	{"causeway/link/foreign", "causeway/internal/store", "the link has no disk"},
	{"causeway/internal/replica", "causeway/broker", "arrows go down"},
	{"causeway/internal/replica", "causeway/link", "arrows go down"},
	{"causeway/internal/cluster", "causeway/internal/home", "the cluster moves opaque bytes"},
	{"causeway/internal/cluster", "causeway/internal/replica", "arrows go down"},
	{"causeway/internal/cluster", "causeway/broker", "arrows go down"},
	{"causeway/internal/cluster", "causeway/link", "arrows go down"},
	{"causeway/internal/cluster", "causeway/tls", "identities come in by an interface; cmd and app make them"},
	{"causeway/internal/sibling", "causeway/broker", "siblings ask for an Edge; the app answers"},
	{"causeway/internal/sibling", "causeway/internal/replica", "siblings ask for a Log; the app answers"},
	{"causeway/internal/sibling", "causeway/link", "siblings forward; to what is the app's choice"},
	{"causeway/broker", "causeway/internal/sibling", "the broker asks for Siblings; who they are is the app's choice"},
	{"causeway/internal/store", "causeway/internal/home", "the store keeps keys and values; it does not know whose"},
	{"causeway/internal/admin", "causeway/internal/replica", "the API asks a Node; the app answers"},
	{"causeway/internal/admin", "causeway/broker", "the API asks a Node; the app answers"},
	{"causeway/internal/admin", "causeway/link", "the API asks a Node; the app answers"},
	{"causeway/internal/supervise", "causeway/internal/home", "supervision knows services, not what they do"},
	{"causeway/internal/backup", "causeway/internal/replica", "a backup asks a Source; the app brings the copy"},
	{"causeway/internal/config", "causeway/internal/home", "configuration is plain data"},
	{"causeway/internal/evacuation", "causeway/internal/...", "what is decided is decided over plain data"},
	{"causeway/internal/evacuation", "net", "what is decided is decided over plain data"},
	{"causeway/internal/takeover", "net", "what is decided is decided over plain data"},
	{"causeway/internal/takeover/agent", "causeway/link", "the agent asks a Caller; the app answers"},
	{"causeway/internal/takeover/agent", "causeway/internal/replica", "the agent asks a Copy and a Book; the app answers"},
	{"causeway/internal/takeover/agent", "causeway/internal/admin", "arrows go down"},
	{"causeway/internal/takeover/ledger", "causeway/link", "a ledger is a disk"},
}

func TestForbiddenEdges(t *testing.T) {
	for _, p := range list(t) {
		for _, rule := range forbidden {
			if p.ImportPath != rule.from {
				continue
			}
			// Direct imports for the standard library (it imports itself), all
			// dependencies for ours.
			deps := p.Imports
			if strings.HasPrefix(rule.to, "causeway/") {
				deps = p.Deps
			}
			for _, d := range deps {
				if matches(rule.to, d) && d != p.ImportPath {
					t.Errorf("%s depends on %s: %s", p.ImportPath, d, rule.why)
				}
			}
		}
	}
}

// Each third-party library has one importing package, so that it can be
// replaced there and its types do not travel.
var owners = []struct {
	library string
	in      []string
	why     string
}{
	{"github.com/quic-go/quic-go", []string{"causeway/link", "causeway/internal/simlab"}, "simlab runs its simulated network"},
	{"github.com/libp2p/go-yamux/v5", []string{"causeway/link"}, ""},
	{"github.com/cockroachdb/pebble/v2", []string{"causeway/internal/store"}, ""},
	{"github.com/hashicorp/raft", []string{"causeway/internal/replica/..."}, "raftlog is its log"},
	{"github.com/hashicorp/memberlist", []string{"causeway/internal/cluster/..."}, "wires is its network in tests"},
	{"github.com/pires/go-proxyproto", []string{"causeway/broker"}, ""},
	{"github.com/hashicorp/raft-wal", []string{"causeway/internal/replica/..."}, ""},
	{"github.com/mochi-mqtt/server/v2", []string{"causeway/broker/..."}, "packet has its codec as an oracle"},
	{"github.com/gorilla/websocket", []string{"causeway/broker/...", "causeway/test/..."}, "the tests speak as a browser does"},
	{"golang.zx2c4.com/wireguard", []string{"causeway/test/lab"}, "the lab's VPN; nothing of it runs in a node"},
	{"github.com/spf13/viper", []string{"causeway/internal/config"}, ""},
	{"github.com/spf13/cobra", []string{"causeway/cmd/causeway"}, ""},
	{"github.com/thejerf/suture/v4", []string{"causeway/internal/supervise"}, ""},
	{"github.com/prometheus/client_golang", []string{"causeway/internal/admin"}, ""},
	{"github.com/klauspost/compress", []string{"causeway/link/wire", "causeway/internal/backup"}, ""},
	{"filippo.io/age", []string{"causeway/internal/backup"}, ""},
	{"github.com/cespare/xxhash/v2", []string{"causeway/routing"}, ""},
	{"github.com/google/btree", []string{"causeway/routing"}, ""},
}

func TestLibraryOwners(t *testing.T) {
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			for _, o := range owners {
				if (imp == o.library || strings.HasPrefix(imp, o.library+"/")) && !anyMatches(o.in, p.ImportPath) {
					t.Errorf("%s imports %s, which belongs to %v", p.ImportPath, imp, o.in)
				}
			}
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		found := false
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			found = found || file.Doc != nil
		}
		if !found {
			t.Errorf("%s has no package comment: say what it is, what it is not, and who owns what", p.ImportPath)
		}
		for _, banned := range []string{"util", "utils", "common", "helpers", "types", "misc"} {
			if filepath.Base(p.ImportPath) == banned {
				t.Errorf("%s: a package named %s is a question not yet answered", p.ImportPath, banned)
			}
		}
	}
}

func anyMatches(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}

func matches(pattern, path string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == tree || strings.HasPrefix(path, tree+"/")
	}
	return pattern == path
}
