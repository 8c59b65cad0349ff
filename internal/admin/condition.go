package admin

import "fmt"

// How bad something is.
const (
	LevelCritical = "critical" // devices, or what was promised to them, are hurt or will be by the next fault
	LevelWarning  = "warning"
	LevelNotice   = "notice"
)

// levels are the degrees to which something is full, the highest first.
var levels = []struct {
	percent int64
	name    string
}{{95, LevelCritical}, {80, LevelWarning}, {50, LevelNotice}}

// levelOf names how full something is; "" below half.
func levelOf(bytes, most int64) string {
	for _, l := range levels {
		if most > 0 && bytes >= most/100*l.percent+most%100*l.percent/100 {
			return l.name
		}
	}
	return ""
}

// conditions are what fills up: the spool of each peer, and all of them.
func conditions(st Status) []Condition {
	out := []Condition{}
	for _, l := range st.Links {
		if level := levelOf(l.SpoolBytes, l.SpoolCapacityBytes); level != "" {
			out = append(out, Condition{Name: "spool", Peer: l.Peer, Level: level, Next: "causeway ctl link show " + l.Peer,
				Summary: fmt.Sprintf("the spool for %s holds %s of %s%s", l.Peer, FormatBytes(l.SpoolBytes), FormatBytes(l.SpoolCapacityBytes), fullIn(l.SpoolFullInSeconds))})
		}
	}
	for _, d := range st.Stores {
		if level := levelOf(d.SpoolBytes, d.SpoolLimitBytes); level != "" {
			out = append(out, Condition{Name: "disk_spools", Level: level, Next: "causeway ctl link list; mend the link, or grow the disk of " + d.SpoolLimitNode,
				Summary: fmt.Sprintf("the spools hold %s of %s that disk.%s of %s leaves them%s", FormatBytes(d.SpoolBytes), FormatBytes(d.SpoolLimitBytes),
					d.SpoolLimitBy, d.SpoolLimitNode, fullIn(d.SpoolFullInSeconds))})
		}
	}
	return out
}

func fullIn(s Seconds) string {
	if s <= 0 {
		return ""
	}
	return ", full in " + FormatDuration(s.Duration())
}

// diskSpoolTrouble warns of spools that fill their part of the disk.
func diskSpoolTrouble(st Status) (list []Trouble) {
	for _, c := range st.Conditions {
		if c.Name == "disk_spools" {
			list = append(list, Trouble{Summary: c.Summary, Since: st.Now, Next: c.Next})
		}
	}
	return list
}
