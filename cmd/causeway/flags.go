package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"causeway/internal/config"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("want %s", strings.Join(c.allowed, " or "))
	}
	c.value = s
	return nil
}

// choiceFlag defines a choice whose first word is the default.
func choiceFlag(cmd *cobra.Command, name, short, usage string, allowed ...string) *choice {
	c := &choice{value: allowed[0], allowed: allowed}
	cmd.Flags().VarP(c, name, short, usage)
	// The only error is a flag that does not exist, and it was defined a line above.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// outputFlag is -o, the form of what a command prints.
func outputFlag(cmd *cobra.Command, allowed ...string) *choice {
	return choiceFlag(cmd, "output", "o", "form of the output", allowed...)
}

// span is a flag that takes a duration in days as well.
type span time.Duration

func (s *span) String() string { return config.FormatDuration(time.Duration(*s)) }
func (s *span) Type() string   { return "duration" }

func (s *span) Set(text string) error {
	d, err := config.ParseDuration(text)
	if err == nil {
		*s = span(d)
	}
	return err
}

// perSecond is a flag that takes a rate: 500/s, or 500 for short.
type perSecond int

func (r *perSecond) String() string { return strconv.Itoa(int(*r)) + "/s" }
func (r *perSecond) Type() string   { return "rate" }

func (r *perSecond) Set(text string) error {
	if !strings.Contains(text, "/") {
		text += "/s"
	}
	v, err := config.ParseRate(text)
	if err != nil || v != config.Rate(int(v)) {
		return errors.New("want a whole number a second, as 500/s")
	}
	*r = perSecond(v)
	return nil
}

// perSecondFlag adds one whose zero value stands for what the node has.
func perSecondFlag(cmd *cobra.Command, r *perSecond, name, usage string) {
	cmd.Flags().Var(r, name, usage)
	cmd.Flags().Lookup(name).DefValue = "0" // not shown
}

// printJSON writes v indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// refusedJSON adds the reason of a refusal to the JSON output, beside the line on stderr.
func refusedJSON(w io.Writer, output *choice, err error) error {
	err = refusal(err)
	if coded := (*exitError)(nil); errors.As(err, &coded) && output.value == "json" {
		if jerr := printJSON(w, map[string][]string{"refused": {coded.Error()}}); jerr != nil {
			return jerr
		}
	}
	return err
}

func (s span) duration() time.Duration { return time.Duration(s) }
