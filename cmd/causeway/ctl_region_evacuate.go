package main

import (
	"fmt"
	"net/http"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

func regionEvacuation(region string) evacuated {
	return evacuated{"the region " + region, "/v1/region/evacuation", "causeway ctl region evacuate " + region + " --status"}
}

// regionEvacuate is `region evacuate`.
func (c *ctl) regionEvacuate() *cobra.Command {
	var f paceFlags
	var to string
	var status, stop bool
	cmd := c.changing(leaf("evacuate REGION", "Empty a whole region: its home goes to a standby, then its devices go at a pace", func(cmd *cobra.Command, args []string) error {
		of := regionEvacuation(args[0])
		path := admin.Path("region", args[0], "evacuate")
		switch {
		case status && stop:
			return usageError(cmd, fmt.Errorf("give one of --status and --stop"))
		case status && f.wait:
			return c.watchEvacuation(cmd, of, f.timeout)
		case status:
			return get(c, cmd, featureEvacuations, of.path, nil, c.printEvacuation)
		case stop:
			return c.change(cmd, change{method: http.MethodPost, feature: featureEvacuations, path: path + "/stop"})
		}
		params := f.params(cmd)
		setParam(params, "to", to)
		x := change{method: http.MethodPost, feature: featureEvacuations, path: path, params: params, body: admin.ConfirmRequest{Confirm: args[0]}, confirm: args[0]}
		if !f.wait || c.dryRun {
			return c.change(cmd, x)
		}
		began, err := c.changed(cmd, x)
		if err != nil || began == nil {
			return err
		}
		return c.watchEvacuation(cmd, of, f.timeout)
	}))
	cmd.Long = `To be run in the region that is emptied. Load balancers hear first (/readyz says 503,
evacuating) while its devices are served on. Then every home that it serves is handed
to a standby by a switchover, and its connections are closed at a pace at each node;
devices come back where the home is served. When the standby is not ready the
evacuation is held, with devices served, and goes on by itself.

It goes on after a restart of any node, and is over when the region serves its home
again (region failback). --stop gives it up before the home has gone.

Exit codes of --wait: 0 the region is empty, 5 it was stopped by somebody, 6 it goes
on and was not done in time.`
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`region` that takes the home (default: the first standby that is connected)")
	cmd.Flags().BoolVar(&status, "status", false, "show how far it is")
	cmd.Flags().BoolVar(&stop, "stop", false, "give it up, while the region serves its home yet")
	return cmd
}
