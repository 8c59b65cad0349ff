package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"causeway/internal/admin"
	"causeway/internal/config"

	"github.com/spf13/cobra"
)

func (c *ctl) linkTestCommand() *cobra.Command {
	var topic, namespace, bytes string
	cmd := leaf("test PEER", "Try a link now, step by step: tunnel, round trip, canaries through both homes, interest, certificates", func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		setParam(params, "topic", topic)
		if topic != "" {
			setParam(params, "namespace", namespace)
		}
		if bytes != "" {
			n, err := config.ParseByteSize(bytes)
			if err != nil {
				return usageError(cmd, fmt.Errorf("--bytes: %w", err))
			}
			if err := c.askPadding(cmd, args[0], n); err != nil {
				return err
			}
			params.Set("bytes", strconv.FormatInt(n.Bytes(), 10))
		}
		return c.testLink(cmd, args[0], params)
	})
	cmd.Flags().StringVar(&topic, "topic", "", "also say whether a message with this topic would cross")
	namespaceFlag(cmd, &namespace, defaultNamespace, "namespace of the topic's publisher")
	cmd.Flags().StringVar(&bytes, "bytes", "", "also send `SIZE` of padding, up to 64MiB, that the peer throws away, and say how fast it went")
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask before padding is sent")
	cmd.Long = "Exit code 1: a step failed, the link does not work. 4: it works, and a goal is missed\n(a late canary, packets lost, a certificate with less than a week and a third of its life left, a topic that would not cross)."
	cmd.Example = "  causeway ctl link test us --topic cmd/car-1/door\n  causeway ctl link test us --bytes 10MiB --yes"
	return cmd
}

// askPadding asks before traffic is made that may cost money, or the devices their
// share of the link.
func (c *ctl) askPadding(cmd *cobra.Command, peer string, n config.ByteSize) error {
	if c.yes {
		return nil
	}
	plan, err := json.Marshal(admin.Change{Action: "send padding", Target: peer, DryRun: true,
		Effects: []string{n.String() + " cross the link beside what devices send, and are thrown away by the peer"}})
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	return c.ask(cmd, change{path: admin.Path("links", peer, "test")}, plan)
}

func (c *ctl) testLink(cmd *cobra.Command, peer string, params url.Values) error {
	b, err := c.call(cmd, http.MethodPost, "link_test", admin.Path("links", peer, "test"), params, nil)
	if err != nil {
		return err
	}
	if err := show(c, cmd, b, c.printLinkTest); err != nil {
		return err
	}
	var t admin.LinkTest
	if err := understand(b, &t); err != nil {
		return err
	}
	return verdict(t)
}

func (c *ctl) printLinkTest(w io.Writer, t admin.LinkTest) {
	facts(w, "link to", t.Peer, "tested at", t.Node, "state", t.State)
	fmt.Fprintln(w)
	rows := c.table("STEP", "STATE", "WHAT WAS FOUND")
	for _, s := range t.Steps {
		rows.row(s.Name, s.State, s.Detail)
	}
	rows.print(w, "nothing was tried")
}

// verdict is the exit code of a test: the first step that failed, or that missed a
// goal, with what to do next.
func verdict(t admin.LinkTest) error {
	for _, v := range []struct {
		state string
		code  int
		says  string
	}{{admin.LinkTestFailed, exitFailed, "does not work"}, {admin.LinkTestMissed, exitMissed, "works, and a goal is missed"}} {
		for _, s := range t.Steps {
			if s.State == v.state {
				lines := []string{fmt.Sprintf("the link to %s %s: %s: %s", clean(t.Peer), v.says, s.Name, clean(s.Detail))}
				if s.Next != "" {
					lines = append(lines, "next: "+clean(s.Next))
				}
				return &exitError{v.code, errors.New(strings.Join(lines, "\n"))}
			}
		}
	}
	return nil
}
