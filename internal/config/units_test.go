package config

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseByteSize(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "512": 512, "512B": 512, "512KiB": 512 << 10, "2MiB": 2 << 20, "10GiB": 10 << 30, "1TiB": 1 << 40,
		"1GB": 1e9, "3kB": 3000, "3KB": 3000, "1.5GiB": 3 << 29, "2 MiB": 2 << 20, " 1MB ": 1e6, "0.5KiB": 512,
	} {
		if got, err := ParseByteSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1MiB", "1PiB", "1MiBs", "1e3", "1.2.3KiB", "9223372036854775807KiB", "99999999999999999999", "0x10", "1,5GiB", "1mib", "Inf", "NaN"} {
		if got, err := ParseByteSize(text); err == nil {
			t.Errorf("%q gives %d, want an error", text, got)
		}
	}
}

func TestParseBandwidth(t *testing.T) {
	for text, want := range map[string]Bandwidth{
		"0": 0, "200Mbit/s": 25e6, "25MB/s": 25e6, "1.5Gbit/s": 187_500_000, "8kbit/s": 1000, "10 MiB/s": 10 << 20, "64000bit/s": 8000, "5B/s": 5, "1GB/s": 1e9,
	} {
		if got, err := ParseBandwidth(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Mbit/s", "200", "200Mbit", "200mbit/s", "-1MB/s", "7bit/s", "1/s", "99999999999GB/s", "1e3B/s"} {
		if got, err := ParseBandwidth(text); err == nil {
			t.Errorf("%q gives %d, want an error", text, got)
		}
	}
	for b, want := range map[Bandwidth]string{0: "0", 25e6: "25MB/s", 1 << 20: "1MiB/s", 12_500: "100kbit/s", 7: "7B/s"} {
		if got := b.String(); got != want {
			t.Errorf("%d is written %q, want %q", uint64(b), got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "10s": 10 * time.Second, "14d": 14 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour,
		"1h30m": 90 * time.Minute, "100ms": 100 * time.Millisecond, "0d": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "d", "-1d", "-5s", "1d-5s", "1w", "1dd", "5s1d", "200000d", "106751d24h", "two days"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q gives %v, want an error", text, got)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 14 * 24 * time.Hour: "14d", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m",
		30 * time.Minute: "30m", 100 * time.Second: "1m40s", 10 * time.Minute: "10m", 10 * time.Hour: "10h",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%d is written %q, want %q", d, got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{"3000/s": 3000, "120/m": 2, "3600/h": 1, "0.5/s": 0.5, "0/s": 0} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "3000", "/s", "3/d", "-1/s", "Inf/s", "NaN/s", "3/s/s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q gives %v, want an error", text, got)
		}
	}
}

func TestSecretRef(t *testing.T) {
	for ref, want := range map[SecretRef]string{"file:/etc/x": "/etc/x", "": "", "hunter2": "", "env:X": "", "file:": ""} {
		if got := ref.Path(); got != want {
			t.Errorf("%q names %q, want %q", ref, got, want)
		}
	}
}

// What is printed reads back as the same value.
func TestUnitsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := ByteSize(rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"))
		if got, err := ParseByteSize(size.String()); err != nil || got != size {
			t.Fatalf("%d is written %q and read as %d, %v", size, size, got, err)
		}
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))
		if rapid.Bool().Draw(t, "whole days") {
			d -= d % (24 * time.Hour)
		}
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%d is written %q and read as %d, %v", d, FormatDuration(d), got, err)
		}
		width := Bandwidth(rapid.Uint64Range(0, math.MaxInt64/8).Draw(t, "bandwidth"))
		if got, err := ParseBandwidth(width.String()); err != nil || got != width {
			t.Fatalf("%d is written %q and read as %d, %v", uint64(width), width, got, err)
		}
		rate := Rate(rapid.Float64Range(0, 1e9).Draw(t, "rate"))
		if got, err := ParseRate(rate.String()); err != nil || got != rate {
			t.Fatalf("%v is written %q and read as %v, %v", float64(rate), rate, got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"14d", "1.5GiB", "3000/s", "1d12h", "-1", "9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if size, err := ParseByteSize(text); err == nil && size < 0 {
			t.Errorf("size %q is negative: %d", text, size)
		}
		if d, err := ParseDuration(text); err == nil && d < 0 {
			t.Errorf("duration %q is negative: %d", text, d)
		}
		if r, err := ParseRate(text); err == nil && !(r >= 0) {
			t.Errorf("rate %q is %v", text, float64(r))
		}
	})
}
