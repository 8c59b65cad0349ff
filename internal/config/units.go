package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ByteSize is a number of bytes, written 512KiB, 2MiB or 1GB: binary units count in 1024s,
// decimal ones (kB, MB, GB, TB) in 1000s, a bare number in bytes.
type ByteSize int64

var byteUnits = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"B", 1},
}

// ParseByteSize reads a size as String writes it; fractions (1.5GiB) are rounded down to a byte.
func ParseByteSize(s string) (ByteSize, error) {
	num, unit := strings.TrimSpace(s), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(num, u.name); ok {
			num, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := parseScaled(num, unit)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", s, err)
	}
	return ByteSize(n), nil
}

// parseScaled multiplies the decimal number in num by unit and keeps the result inside int64.
func parseScaled(num string, unit int64) (int64, error) {
	if strings.Trim(num, "0123456789.") != "" || num == "" {
		return 0, fmt.Errorf("want a number and a unit")
	}
	if n, err := strconv.ParseInt(num, 10, 64); err == nil {
		if n > math.MaxInt64/unit {
			return 0, fmt.Errorf("too large")
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return 0, fmt.Errorf("want a number and a unit")
	}
	if f *= float64(unit); f >= math.MaxInt64 {
		return 0, fmt.Errorf("too large")
	}
	return int64(f), nil
}

// String writes the size exactly, in the unit that makes the smallest number of it.
func (b ByteSize) String() string {
	n, unit := int64(b), "B"
	for _, u := range byteUnits {
		if q := int64(b) / u.size; int64(b)%u.size == 0 && q != 0 && q < n && u.name != "KB" {
			n, unit = q, u.name
		}
	}
	if unit == "B" {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + unit
}

// Bytes is the size as a plain number.
func (b ByteSize) Bytes() int64 { return int64(b) }

// ParseDuration reads what time.ParseDuration does and whole or partial days in front: 14d, 1d12h,
// 90s. A negative duration is an error: no key has a use for one.
func ParseDuration(s string) (time.Duration, error) {
	rest, days := strings.TrimSpace(s), time.Duration(0)
	if head, tail, ok := strings.Cut(rest, "d"); ok {
		n, err := parseScaled(head, int64(24*time.Hour))
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration: %w", s, err)
		}
		if rest, days = tail, time.Duration(n); rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	if d < 0 || (days > 0 && strings.HasPrefix(rest, "-")) {
		return 0, fmt.Errorf("%q is negative", s)
	}
	if days > math.MaxInt64-d {
		return 0, fmt.Errorf("%q is too long", s)
	}
	return days + d, nil
}

// FormatDuration writes d as ParseDuration reads it, in days when it is whole days and without
// trailing zero units.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Rate is events per second, written 3000/s, 120/m or 5/h; 0 means no bound.
type Rate float64

// ParseRate reads a rate.
func ParseRate(s string) (Rate, error) {
	num, per, ok := strings.Cut(strings.TrimSpace(s), "/")
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimSpace(per)]
	n, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if !ok || seconds == 0 || err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is not a rate", s)
	}
	return Rate(n / seconds), nil
}

// String writes the rate per second.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s" }

// Bandwidth is a number of bytes a second, written 200Mbit/s or 25MB/s; 0 means no bound.
type Bandwidth uint64

// bandwidthUnits are in bits a second, so that each is a whole number.
var bandwidthUnits = []struct {
	name string
	bits int64
}{
	{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1},
	{"GiB/s", 8 << 30}, {"MiB/s", 8 << 20}, {"KiB/s", 8 << 10}, {"GB/s", 8e9}, {"MB/s", 8e6}, {"kB/s", 8e3}, {"KB/s", 8e3}, {"B/s", 8},
}

// ParseBandwidth reads a bandwidth as String writes it; fractions are rounded down to a byte.
func ParseBandwidth(s string) (Bandwidth, error) {
	text := strings.TrimSpace(s)
	if text == "0" {
		return 0, nil
	}
	for _, u := range bandwidthUnits {
		num, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		bits, err := parseScaled(strings.TrimSpace(num), u.bits)
		if err != nil {
			return 0, fmt.Errorf("%q is not a bandwidth: %w", s, err)
		}
		if bits > 0 && bits < 8 {
			return 0, fmt.Errorf("%q is less than a byte a second", s)
		}
		return Bandwidth(bits / 8), nil
	}
	return 0, fmt.Errorf("%q is not a bandwidth: want a number and bit/s, kbit/s, Mbit/s, Gbit/s, B/s, kB/s, MB/s or GB/s", s)
}

// Bounds of a bandwidth; below the least a frame would take minutes.
const (
	leastBandwidth Bandwidth = 1000
	mostBandwidth  Bandwidth = 1 << 40
)

// Validate says why a bandwidth is out of range, or returns nil.
func (b Bandwidth) Validate() error {
	if b == 0 || b >= leastBandwidth && b <= mostBandwidth {
		return nil
	}
	return fmt.Errorf("%s is out of range: want %s to %s, or 0 for no bound", b, leastBandwidth, mostBandwidth)
}

// String writes the bandwidth exactly, in the unit that makes the smallest number of it.
func (b Bandwidth) String() string {
	if b == 0 {
		return "0"
	}
	if b > math.MaxInt64/8 {
		return strconv.FormatUint(uint64(b), 10) + "B/s"
	}
	bits, best, unit := int64(b)*8, int64(b)*8, "bit/s"
	for _, u := range bandwidthUnits {
		if q := bits / u.bits; bits%u.bits == 0 && q < best && u.name != "KB/s" {
			best, unit = q, u.name
		}
	}
	return strconv.FormatInt(best, 10) + unit
}

// SecretRef says where a secret is kept, as file:PATH; the secret itself is never in the
// configuration, and so never in its printed form or in a log.
type SecretRef string

// Path is the file the reference names; "" when the reference is empty or of another form.
func (r SecretRef) Path() string {
	path, ok := strings.CutPrefix(string(r), "file:")
	if !ok {
		return ""
	}
	return path
}
