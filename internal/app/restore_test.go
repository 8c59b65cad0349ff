package app

import (
	"testing"
	"time"

	"causeway/internal/backup"
	"causeway/internal/home"
)

// A restored home is above what a failover made of it since the backup, whichever region that was, and above what an
// earlier restore of the same backup began, with all that came of that.
func TestRestore_EpochIsAboveAllUsedMeanwhile(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &backup.Manifest{Epoch: 1, Host: "eu", Time: at}
	restored := func(after time.Duration) home.Epoch {
		return home.Epoch{Number: epochAfter(m, at.Add(after)), Host: "eu"}
	}
	for _, host := range []string{"ap", "us"} { // below eu and above it, by name
		if used := (home.Epoch{Number: m.Epoch + 1, Host: host}); restored(time.Second).Compare(used) <= 0 {
			t.Errorf("%s is not above the failover's %s", restored(time.Second), used)
		}
	}
	first := restored(time.Hour)
	moved := home.Epoch{Number: first.Number + 100, Host: "us"} // within the next ten minutes
	if again := restored(time.Hour + 10*time.Minute); again.Compare(moved) <= 0 {
		t.Errorf("the second restore begins %s, and %s was used", again, moved)
	}
	if back := restored(-time.Hour); back.Number <= m.Epoch { // a clock that is behind
		t.Errorf("a clock that is behind: %s", back)
	}
}
