package main

import (
	"fmt"

	"causeway/internal/admin"
)

// spoolSpace is the line about what the spools of all links take of a disk.
func spoolSpace(d admin.Store) []string {
	if d.SpoolLimitBytes == 0 {
		return nil
	}
	line := fmt.Sprintf("%s of %s (%s), by disk.%s of %s", admin.FormatBytes(d.SpoolBytes), admin.FormatBytes(d.SpoolLimitBytes),
		percent(d.SpoolBytes, d.SpoolLimitBytes), d.SpoolLimitBy, d.SpoolLimitNode)
	if d.SpoolFullInSeconds > 0 {
		line += ", full in " + seconds(d.SpoolFullInSeconds, true)
	}
	return []string{"spools", line}
}
