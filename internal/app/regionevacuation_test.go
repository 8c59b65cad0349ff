package app_test

import (
	"errors"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/app"
)

// A node that starts does not say that there is no evacuation of its region before it has heard: who waits for one would
// take it as stopped.
func TestRegionEvacuation_AskedAsTheNodeStarts(t *testing.T) {
	u := startUnread(t)
	if _, err := u.Node().RegionEvacuation(); !errors.Is(err, admin.ErrNotFound) {
		t.Fatalf("before it begins: %v", err)
	}
	u.write("region/eu", `{"region":"eu","to":"us","state":"waiting_health_check","epoch":1,"began":"2100-01-01T00:00:00Z","since":"2100-01-01T00:00:00Z","options":{"wait_health_check":1}}`)
	u.stop()
	u.region = startUntil(t, u.yaml, app.Options{}, func(a *app.App) bool {
		e, err := a.Node().RegionEvacuation()
		if err != nil && !errors.Is(err, admin.ErrUnavailable) {
			t.Errorf("as it starts: %v", err)
		}
		return err == nil && e.State == "waiting_health_check"
	})
	u.write("region/eu", "")
	await(t, "its end", func() bool { _, err := u.Node().RegionEvacuation(); return errors.Is(err, admin.ErrNotFound) })
}
