package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Each byte of a table's data that changes is noticed, and so is a table that is
// gone.
func TestVerify(t *testing.T) {
	fs := NewCrashFS()
	s, err := Open(fs, "/s", Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	for i := range 200 {
		b.Set(fmt.Appendf(nil, "key-%04d", i), bytes.Repeat([]byte{byte(i)}, 50))
	}
	if err := b.Commit(7, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := Verify(fs, "/s"); err != nil || p != (Position{7, 2}) {
		t.Fatalf("a whole store: %+v, %v", p, err)
	}
	var table string
	names, _ := List(fs, "/s")
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			table = "/s/" + n
		}
	}
	info, err := fs.Stat(table)
	if err != nil {
		t.Fatal(err)
	}
	noticed := 0
	for at := int64(0); at < info.Size(); at += 7 {
		disk := fs.Crash()
		f, err := OpenExisting(disk, table)
		if err != nil {
			t.Fatal(err)
		}
		var x [1]byte
		if _, err := f.ReadAt(x[:], at); err != nil {
			t.Fatal(err)
		}
		x[0] ^= 0x20
		if _, err := f.WriteAt(x[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(disk, "/s"); errors.Is(err, ErrDamaged) {
			noticed++
		} else if err != nil {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if all := int(info.Size() / 7); noticed < all*4/5 { // the rest is properties, which nobody reads
		t.Errorf("of %d changes %d were noticed", all, noticed)
	}
	disk := fs.Crash()
	if err := disk.Remove(table); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(disk, "/s"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a table is gone: %v", err)
	}
}
