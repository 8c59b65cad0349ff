package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

// ctl is the client of a node's admin API: every command asks the node and prints what it said.
type ctl struct {
	std stdio

	// where the node is, from flags; see ctl_context.go
	contextName, socket, dataDir, server, tokenFile, caFile string

	output      *choice
	wide        bool
	yes, dryRun bool
	interval    time.Duration // of status --watch
	ofHome      string        // whose configuration is meant

	// what a test replaces
	now         func() time.Time
	interactive func(stream any) bool
}

// newCtl returns `causeway ctl` with everything below it.
func newCtl(std stdio) *cobra.Command {
	c := &ctl{std: std, now: time.Now, interactive: func(stream any) bool {
		f, ok := stream.(*os.File)
		return ok && isTerminal(f)
	}}
	return c.command()
}

func (c *ctl) command() *cobra.Command {
	root := group("ctl", "Look at a running node and change it",
		`Speaks to a node's admin API: over the Unix socket in the node's data directory,
where whoever may open the file is admin, or over TCP with --server and a token.

Where the node is, the first that is given: --server, --socket, --data-dir,
--context; CAUSEWAY_CONTEXT; the current context of
~/.config/causeway/contexts.yaml; CAUSEWAY_DATA_DIR; the data directory ./data;
/var/lib/causeway.

What changes something shows it and asks first; --yes does not ask, --dry-run
only shows. With -o json a refusal (exit code 3) is on standard output too,
with its reasons in refused[].`,
		`  causeway ctl status --watch
  causeway ctl clients list --prefix car- -o json
  causeway ctl routes test cmd/car-1/door
  causeway ctl --server https://eu-1:18083 --token-file eu.token status`,
		c.statusCommand(),
		c.alarmsCommand(),
		c.readinessCommand(),
		c.drillCommand(),
		c.eventsCommand(),
		c.regionCommand(),
		c.reconcileCommand(),
		c.clientsCommand(),
		c.sessionsCommand(),
		c.clusterCommand(),
		c.backupCommand(),
		c.upgradeCommand(),
		c.evacuationCommand(),
		c.rebalanceCommand(),
		c.banCommand(),
		c.traceCommand(),
		c.eraseCommand(),
		c.admissionCommand(),
		c.linkCommand(),
		c.peerCommand(),
		c.routesCommand(),
		c.retainedCommand(),
		c.sharedCommand(),
		c.auditCommand(),
		c.doctorCommand(),
		c.servicesCommand(),
		c.configCommand(),
		c.versionCommand(),
		c.applyCommand(),
		c.diffCommand(),
		c.getCommand(),
		c.historyCommand(),
		c.rollbackCommand(),
		c.aclCommand(),
		c.usersCommand(),
		c.tokensCommand())
	f := root.PersistentFlags()
	f.StringVar(&c.contextName, "context", "", "`name` of a context of ~/.config/causeway/contexts.yaml")
	f.StringVar(&c.server, "server", "", "`URL` of admin.listen: http://host:port or https://host:port")
	f.StringVar(&c.tokenFile, "token-file", "", "`file` with the token for --server")
	f.StringVar(&c.caFile, "ca", "", "PEM `file` of the authority of an https --server (default: the system's)")
	f.StringVar(&c.socket, "socket", "", "`path` of the node's admin socket")
	f.StringVar(&c.dataDir, "data-dir", "", "data `directory` of the node, where its socket is")
	f.BoolVar(&c.wide, "wide", false, "do not shorten the cells of tables")
	c.output = &choice{value: "table", allowed: []string{"table", "json", "yaml"}}
	f.VarP(c.output, "output", "o", "form of the output")
	// The only error is a flag that does not exist, and it was defined a line above.
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(c.output.allowed, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// alias gives a command a second name: operators type the singular and the plural.
func alias(name string, cmd *cobra.Command) *cobra.Command {
	cmd.Aliases = append(cmd.Aliases, name)
	return cmd
}

// leaf is a command that does something. use is its name and its arguments, as in "show PEER"; those in
// brackets may be left out.
func leaf(use, short string, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	words := strings.Fields(use)
	return &cobra.Command{Use: use, Short: short, RunE: run, Args: func(cmd *cobra.Command, args []string) error {
		least := len(slices.DeleteFunc(slices.Clone(words[1:]), func(w string) bool { return strings.HasPrefix(w, "[") }))
		if len(args) < least || len(args) >= len(words) {
			return fmt.Errorf("%s takes %s", cmd.CommandPath(), cmp.Or(strings.Join(words[1:], " "), "no arguments"))
		}
		return nil
	}}
}

// remote is the node that is meant, with the places where it was looked for.
func (c *ctl) remote(cmd *cobra.Command) (r *admin.Remote, tried []string, err error) {
	a, tried, err := c.address()
	if err != nil {
		return nil, nil, err
	}
	if r, err = admin.NewRemote(a); err != nil {
		return nil, nil, usageError(cmd, err)
	}
	return r, tried, nil
}

// understand decodes what a node answered.
func understand(b json.RawMessage, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("the answer of the node is not understood: %w", err)
	}
	return nil
}

// call asks the node and returns its JSON.
func (c *ctl) call(cmd *cobra.Command, method, feature, path string, params url.Values, body any) (json.RawMessage, error) {
	r, tried, err := c.remote(cmd)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := r.Call(cmd.Context(), method, feature, path, params, body)
	if err != nil {
		return nil, c.failed(cmd, err, tried)
	}
	return b, nil
}

// get asks for a thing and prints it: the JSON as it came, or the table.
func get[T any](c *ctl, cmd *cobra.Command, feature, path string, params url.Values, table func(io.Writer, T)) error {
	b, err := c.call(cmd, http.MethodGet, feature, path, params, nil)
	if err != nil {
		return err
	}
	return show(c, cmd, b, table)
}

// show prints an answer in the form asked for.
func show[T any](c *ctl, cmd *cobra.Command, b json.RawMessage, table func(io.Writer, T)) error {
	if c.output.value != "table" {
		return c.encode(cmd.OutOrStdout(), b)
	}
	var v T
	if err := understand(b, &v); err != nil {
		return err
	}
	table(cmd.OutOrStdout(), v)
	return nil
}

// lister is the flags of a list that comes in pages.
type lister struct {
	limit int
	after string
}

func (l *lister) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&l.limit, "limit", 100, "how many to show; 0 shows all")
	cmd.Flags().StringVar(&l.after, "after", "", "go on after this place, as the last page named it")
}

// pageSize is how many items one call asks for.
const pageSize = 1000

// pages asks for pages until the limit is reached and prints them as one.
func pages[T any](c *ctl, cmd *cobra.Command, l lister, feature, path string, params url.Values, table func(io.Writer, []T)) error {
	if l.limit < 0 {
		return usageError(cmd, fmt.Errorf("--limit is %d; use a number, or 0 for all", l.limit))
	}
	all := listing[json.RawMessage]{Page: admin.Page[json.RawMessage]{Items: []json.RawMessage{}, Next: l.after}}
	for {
		size := pageSize
		if l.limit > 0 {
			size = min(size, l.limit-len(all.Items))
		}
		setParam(params, "limit", fmt.Sprint(size))
		setParam(params, "after", all.Next)
		b, err := c.call(cmd, http.MethodGet, feature, path, params, nil)
		if err != nil {
			return err
		}
		var page listing[json.RawMessage]
		if err := understand(b, &page); err != nil {
			return err
		}
		all.Items, all.Next = append(all.Items, page.Items...), page.Next
		all.missing(page.Unanswered)
		if all.Next == "" || l.limit > 0 && len(all.Items) >= l.limit {
			break
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("join the pages: %w", err)
	}
	return show(c, cmd, b, func(w io.Writer, page listing[T]) {
		table(w, page.Items)
		printUnanswered(cmd.ErrOrStderr(), page.Unanswered)
		if page.Next != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "there are more: --after %s, or --limit 0 for all\n", page.Next)
		}
	})
}

// listing is a list that may lack what nodes know that did not answer.
type listing[T any] struct {
	admin.Page[T]
	Unanswered []admin.Unanswered `json:"unanswered,omitempty"`
}

// missing adds the nodes that did not answer for one page.
func (l *listing[T]) missing(nodes []admin.Unanswered) {
	for _, n := range nodes {
		if !slices.ContainsFunc(l.Unanswered, func(u admin.Unanswered) bool { return u.Node == n.Node }) {
			l.Unanswered = append(l.Unanswered, n)
		}
	}
}

func printUnanswered(w io.Writer, nodes []admin.Unanswered) {
	for _, u := range nodes {
		fmt.Fprintf(w, "node %s is missing here: %s\n", clean(u.Node), clean(u.Reason))
	}
}

func setParam(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

// namespaceFlag adds --namespace.
func namespaceFlag(cmd *cobra.Command, p *string, def, usage string) {
	cmd.Flags().StringVarP(p, "namespace", "n", def, usage)
}

// address finds the node: what to call, and the places that were tried on the way.
func (c *ctl) address() (admin.Address, []string, error) {
	if n := countSet(c.server, c.socket, c.dataDir, c.contextName); n > 1 {
		return admin.Address{}, nil, &exitError{exitUsage,
			errors.New("--server, --socket, --data-dir and --context each name a node; give one of them")}
	}
	switch {
	case c.server != "":
		a, err := c.overTCP(c.server, c.tokenFile, c.caFile)
		return a, nil, err
	case c.socket != "":
		return admin.Address{Socket: c.socket}, nil, nil
	case c.dataDir != "":
		return admin.Address{Socket: socketIn(c.dataDir)}, nil, nil
	}
	a, found, err := c.fromContext(cmp.Or(c.contextName, c.std.getenv("CAUSEWAY_CONTEXT")))
	if err != nil || found {
		return a, nil, err
	}
	places := []string{socketIn("data"), socketIn("/var/lib/causeway")}
	if dir := c.std.getenv("CAUSEWAY_DATA_DIR"); dir != "" {
		places = []string{socketIn(dir)}
	}
	for _, p := range places {
		if fileExists(p) {
			return admin.Address{Socket: p}, nil, nil
		}
	}
	return admin.Address{Socket: places[0]}, places, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// getenv is the value of a variable of the process, "" if it is not set.
func (s stdio) getenv(name string) string {
	for _, kv := range s.env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

func countSet(values ...string) (n int) {
	for _, v := range values {
		if v != "" {
			n++
		}
	}
	return n
}
