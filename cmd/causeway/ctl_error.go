package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

// failed gives an error of a call its exit code and, with -o json or yaml, prints it as the answer
// too, so that a program finds refused[] where it looks.
func (c *ctl) failed(cmd *cobra.Command, err error, tried []string) error {
	var gone *admin.Unreachable
	if errors.As(err, &gone) && len(tried) > 0 {
		gone.Where = strings.Join(tried, " or ")
	}
	var p *admin.Problem
	if !errors.As(err, &p) {
		return err
	}
	if c.output.value != "table" {
		if b, e := json.Marshal(p); e == nil {
			_ = c.encode(cmd.OutOrStdout(), b) // stdout is gone; the error below still says it
		}
	}
	switch p.Status {
	case http.StatusConflict:
		return &exitError{exitRefused, errors.New(refusals(p))}
	case http.StatusBadRequest:
		return &exitError{exitUsage, err}
	}
	return err
}

// refusals lists what is not met, a line each with its fix.
func refusals(p *admin.Problem) string {
	lines := []string{"refused; nothing was done"}
	for _, r := range p.Refused {
		lines = append(lines, fmt.Sprintf("%s: %s; %s", r.Condition, r.Reason, r.Fix))
	}
	if len(p.Refused) == 0 {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}
