package backup

import (
	"encoding/json"
	"errors"
	"testing"
)

// The keys of one backup's files open it, and nothing else; who has another secret key gets none.
func TestUnlock_OpensOneBackup(t *testing.T) {
	both, public := newKey(t)
	stranger, _ := newKey(t)
	k, dir := keep(t, 20), Dir(t.TempDir())
	m, other := write(t, k, dir, public), write(t, k, dir, public)
	locks, err := Locks(t.Context(), dir, &m)
	if err != nil || len(locks) != len(m.Parts) {
		t.Fatalf("%d locks of %d parts, %v", len(locks), len(m.Parts), err)
	}
	b, err := json.Marshal(locks) // as they go to who has the key
	if err != nil {
		t.Fatal(err)
	}
	var told []Lock
	if err := json.Unmarshal(b, &told); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Unlock(told); err == nil {
		t.Error("another key opens it")
	}
	if _, err := public.Unlock(told); err == nil {
		t.Error("the public key opens it")
	}
	keys, err := both.Unlock(told)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, &m, FileKeys(keys)); err != nil {
		t.Error(err)
	}
	if _, err := Verify(t.Context(), dir, &other, FileKeys(keys)); err == nil {
		t.Error("they open another backup")
	}
	delete(keys, m.Parts[1].Name)
	if _, err := Verify(t.Context(), dir, &m, FileKeys(keys)); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("with a key missing: %v", err)
	}
	plain := write(t, k, dir, Key{})
	if locks, err := Locks(t.Context(), dir, &plain); err != nil || len(locks) > 0 {
		t.Errorf("a plain one has %d locks, %v", len(locks), err)
	}
}
