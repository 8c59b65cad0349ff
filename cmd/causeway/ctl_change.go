package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

// change is a call that changes something.
type change struct {
	method, feature, path string
	params                url.Values
	body                  any
	// confirm is what a person has to type; empty asks for yes.
	confirm string
}

// changing adds --dry-run and --yes.
func (c *ctl) changing(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "say what would happen and do nothing")
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	return cmd
}

// change shows what will happen, asks unless --yes says not to, does it, and prints what was done.
func (c *ctl) change(cmd *cobra.Command, x change) error {
	done, err := c.changed(cmd, x)
	if err != nil || done == nil {
		return err
	}
	return show(c, cmd, done, printChange)
}

// changed is change without the last step: it returns what was done, nil if that was not asked for.
func (c *ctl) changed(cmd *cobra.Command, x change) (json.RawMessage, error) {
	if x.params == nil {
		x.params = url.Values{}
	}
	if c.dryRun || !c.yes {
		x.params.Set("dry_run", "true")
		plan, err := c.call(cmd, x.method, x.feature, x.path, x.params, x.body)
		if err != nil {
			return nil, err
		}
		if c.dryRun {
			return nil, show(c, cmd, plan, printChange)
		}
		if err := c.ask(cmd, x, plan); err != nil {
			return nil, err
		}
		x.params.Del("dry_run")
	}
	return c.call(cmd, x.method, x.feature, x.path, x.params, x.body)
}

// ask shows the plan and waits for a yes. Where nobody can be asked nothing is done.
func (c *ctl) ask(cmd *cobra.Command, x change, plan json.RawMessage) error {
	if !c.interactive(cmd.InOrStdin()) {
		p := &admin.Problem{Type: admin.ProblemRefused, Title: "A precondition is not met", Status: 409, Detail: "nobody can be asked",
			Instance: x.path, Fix: "add --yes", Refused: []admin.Refusal{{
				Condition: "confirm", Reason: "this changes something and there is no terminal to ask at", Fix: "add --yes, or --dry-run to see what would happen"}}}
		return c.failed(cmd, p, nil)
	}
	var v admin.Change
	if err := understand(plan, &v); err != nil {
		return err
	}
	printChange(cmd.ErrOrStderr(), v)
	want, question := []string{"y", "yes"}, "go on? [y/N] "
	if x.confirm != "" {
		want, question = []string{x.confirm}, fmt.Sprintf("type %s to go on: ", clean(x.confirm))
	}
	fmt.Fprint(cmd.ErrOrStderr(), question)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	for _, w := range want {
		if strings.TrimSpace(line) == w {
			return nil
		}
	}
	return &exitError{exitRefused, errors.New("not confirmed; nothing was done")}
}

func printChange(w io.Writer, v admin.Change) {
	verb := "done"
	if v.DryRun {
		verb = "would be done"
	}
	fmt.Fprintf(w, "%s: %s\n", strings.TrimSpace(v.Action+" "+clean(v.Target)), verb)
	for _, e := range v.Effects {
		fmt.Fprintf(w, "  %s\n", clean(e))
	}
}
