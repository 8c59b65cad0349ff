package config

import (
	"fmt"

	"github.com/spf13/pflag"
)

// flagDef ties a flag to the key it sets.
type flagDef struct{ name, key, usage string }

// The keys that are worth a flag: what differs between two nodes started by hand. Everything else
// has its variable and its place in the file.
var flagDefs = []flagDef{
	{"region", "region", "`name` of the region this node belongs to (default \"local\")"},
	{"node", "node", "`name` of this node (default: the region and -1)"},
	{"data-dir", "data_dir", "`folder` of everything the node keeps (default \"./data\")"},
	{"link-listen", "link.listen", "UDP `address` where peer regions dial; \"\" accepts none (default \"127.0.0.1:7444\")"},
	{"admin-socket", "admin.socket", "`path` of the Unix socket of the admin API (default: admin.sock in the data directory)"},
	{"admin-listen", "admin.listen", "TCP `address` of the admin API (default off)"},
	{"metrics-listen", "metrics.listen", "`address` of the Prometheus metrics (default off)"},
	{"password-file", "auth.password_file", "`file` of users and their passwords (see causeway passwd)"},
	{"acl-file", "auth.acl_file", "`file` of who may publish and subscribe to what"},
	{"log-level", "log.level", "least important `level` that is logged: debug, info, warn or error (default \"info\")"},
	{"log-format", "log.format", "`form` of the log: text or json (default \"text\")"},
}

// listenFlag sets the listeners as a whole.
var listenFlag = flagDef{"listen", "listeners",
	"device listener as `TYPE://HOST:PORT`, TYPE mqtt or ws; may be repeated, replaces all listeners (default \"mqtt://127.0.0.1:1883\")"}

// AddFlags defines the flags that set configuration keys. Their own defaults are empty: a flag
// counts only when it was given.
func AddFlags(fs *pflag.FlagSet) {
	fs.StringArray(listenFlag.name, nil, listenFlag.usage)
	for _, d := range flagDefs {
		fs.String(d.name, "", d.usage)
	}
}

// eachFlag calls do for the flags of AddFlags that were given on the command line.
func eachFlag(fs *pflag.FlagSet, do func(d flagDef, flag *pflag.Flag)) {
	if fs == nil {
		return
	}
	for _, d := range append([]flagDef{listenFlag}, flagDefs...) {
		if flag := fs.Lookup(d.name); flag != nil && flag.Changed {
			do(d, flag)
		}
	}
}

// noteFlag records a flag as the source of its key.
func (s *Sources) noteFlag(d flagDef, flag *pflag.Flag) {
	src := Source{Kind: FromFlag, Name: d.name}
	s.set(d.key, src)
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		for i, text := range list.GetSlice() {
			s.noteShortListener(text, fmt.Sprintf("%s[%d]", d.key, i), src)
		}
	}
}
