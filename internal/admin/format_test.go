package admin

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		1300 << 30: "1.3 TiB", 1<<63 - 1: "8.0 EiB", -2048: "-2.0 KiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 40 * time.Microsecond: "40µs", 80 * time.Millisecond: "80ms", 1500 * time.Millisecond: "1.5s",
		12 * time.Second: "12s", 2 * time.Minute: "2m", 90 * time.Second: "1m30s", 3*time.Hour + 4*time.Minute + 5*time.Second: "3h4m",
		72 * time.Hour: "3d", 75 * time.Hour: "3d3h", -time.Minute: "-1m"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%s: %s, want %s", time.Duration(d), got, want)
		}
	}
}

// A size or duration never takes more room than its column.
func TestFormat_IsShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if s := FormatBytes(rapid.Int64Min(0).Draw(t, "bytes")); len(s) > 10 {
			t.Fatal(s)
		}
		if s := FormatDuration(time.Duration(rapid.Int64Range(0, int64(10*365*24*time.Hour)).Draw(t, "d"))); len(s) > 9 {
			t.Fatal(s)
		}
	})
}
