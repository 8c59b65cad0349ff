package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Portion is a part of a disk, written 20% of it, or a size such as 10GiB.
type Portion string

// Of is the portion of so many bytes.
func (p Portion) Of(whole uint64) (uint64, error) {
	text, percent := strings.CutSuffix(strings.TrimSpace(string(p)), "%")
	if !percent {
		n, err := ParseByteSize(text)
		return uint64(n), err
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(f >= 0 && f <= 100) {
		return 0, fmt.Errorf("%q is no part of a disk", string(p))
	}
	return uint64(f / 100 * float64(whole)), nil
}

// Disk says what of the data directory's file system links may fill.
type Disk struct {
	// Reserve is what the spools of all links leave free for everything else. Default 10%.
	Reserve Portion `mapstructure:"reserve"`
	// SpoolMax is what they take at most, all together. Default 40%.
	SpoolMax Portion `mapstructure:"spool_max"`
}

func (v *validator) disk(d Disk) {
	for _, x := range []struct {
		key string
		p   Portion
	}{{"disk.reserve", d.Reserve}, {"disk.spool_max", d.SpoolMax}} {
		_, err := x.p.Of(1)
		v.check(err == nil, x.key, fmt.Sprintf("%q is not accepted", string(x.p)), "want a part of the disk such as 20%, or a size such as 10GiB")
	}
	if most, err := d.SpoolMax.Of(100); err == nil {
		v.check(most > 0, "disk.spool_max", "leaves links nothing to wait in", "want 1% or more")
	}
}
