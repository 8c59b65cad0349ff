package store

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
)

var euOne = Identity{Region: "eu", Node: "eu-1"}

func openDir(t testing.TB, fs FS, path string) *Dir {
	t.Helper()
	d, err := OpenDir(fs, path, euOne)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenDir_KeepsIdentityAndCountsStarts(t *testing.T) {
	for name, fs := range map[string]FS{"memory": NewCrashFS(), "disk": DiskFS()} {
		t.Run(name, func(t *testing.T) {
			path := "/var/data"
			if name == "disk" {
				path = t.TempDir() + "/data"
			}
			d := openDir(t, fs, path)
			uuid := d.DiskUUID()
			if !uuid.Valid() || d.Incarnation() != 1 || d.Created().IsZero() {
				t.Fatalf("uuid %q incarnation %d created %v", uuid, d.Incarnation(), d.Created())
			}
			if _, err := OpenDir(fs, path, euOne); !errors.Is(err, ErrDirInUse) || !strings.Contains(err.Error(), "another process uses "+path) {
				t.Fatalf("second open: %v", err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = openDir(t, fs, path)
			defer d.Close()
			if d.DiskUUID() != uuid || d.Incarnation() != 2 {
				t.Fatalf("uuid %q incarnation %d, want %q and 2", d.DiskUUID(), d.Incarnation(), uuid)
			}
			sub, err := d.Sub("homes")
			if err != nil || sub != fs.PathJoin(path, "homes") {
				t.Fatalf("sub %q, %v", sub, err)
			}
		})
	}
}

func TestOpenDir_NewDisksDiffer(t *testing.T) {
	a, b := openDir(t, NewCrashFS(), "/d"), openDir(t, NewCrashFS(), "/d")
	if a.DiskUUID() == b.DiskUUID() {
		t.Fatalf("two disks share %s", a.DiskUUID())
	}
}

func TestOpenDir_Refuses(t *testing.T) {
	edit := func(change func(m map[string]any)) func(t *testing.T, fs FS) {
		return func(t *testing.T, fs FS) {
			data, err := ReadFile(fs, "/d/FORMAT", 1000)
			if err != nil {
				t.Fatal(err)
			}
			m := map[string]any{}
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			change(m)
			data, _ = json.Marshal(m)
			put(t, fs, "FORMAT", string(data))
		}
	}
	for _, tc := range []struct {
		name   string
		break_ func(t *testing.T, fs FS)
		id     Identity
		want   error
		says   string
	}{
		{"another region", nil, Identity{"us", "eu-1"}, ErrForeignDir, "it is node eu/eu-1's, this is us/eu-1; point data_dir"},
		{"another node", nil, Identity{"eu", "eu-2"}, ErrForeignDir, "eu/eu-2"},
		{"newer", edit(func(m map[string]any) { m["version"] = FormatVersion + 1; m["shape"] = "unknown" }), euOne, ErrNewerFormat, "version 2"},
		{"version zero", edit(func(m map[string]any) { m["version"] = 0 }), euOne, ErrDamagedDir, "version 0"},
		{"uuid changed", edit(func(m map[string]any) { m["disk_uuid"] = newDiskUUID() }), euOne, ErrDamagedDir, "checksum"},
		{"unknown field", edit(func(m map[string]any) { m["extra"] = 1 }), euOne, ErrDamagedDir, "extra"},
		{"empty FORMAT", func(t *testing.T, fs FS) { put(t, fs, "FORMAT", "") }, euOne, ErrDamagedDir, "not JSON"},
		{"huge FORMAT", func(t *testing.T, fs FS) { put(t, fs, "FORMAT", strings.Repeat(" ", maxSmallFile+1)) }, euOne, ErrDamagedDir, "larger than"},
		{"FORMAT lost", func(t *testing.T, fs FS) { put(t, fs, "raft", "x"); remove(t, fs, "FORMAT") }, euOne, ErrForeignDir, `holds "raft" but no FORMAT`},
		{"INCARNATION lost", func(t *testing.T, fs FS) { remove(t, fs, "INCARNATION") }, euOne, ErrDamagedDir, "treat this disk as wiped"},
		{"INCARNATION flipped", func(t *testing.T, fs FS) { put(t, fs, "INCARNATION", "7"+encodeIncarnation(1)[1:]) }, euOne, ErrDamagedDir, "INCARNATION"},
		{"no identity", nil, Identity{}, nil, "region and node must be set"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := NewCrashFS()
			if err := openDir(t, fs, "/d").Close(); err != nil {
				t.Fatal(err)
			}
			if tc.break_ != nil {
				tc.break_(t, fs)
			}
			_, err := OpenDir(fs, "/d", tc.id)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v; want %v saying %q", err, tc.want, tc.says)
			}
			// A refused directory is not locked.
			if l, err := fs.Lock("/d/LOCK"); err != nil && tc.id.Node != "" {
				t.Fatalf("left locked: %v", err)
			} else if l != nil {
				l.Close()
			}
		})
	}
}

func put(t *testing.T, fs FS, name, content string) {
	t.Helper()
	if err := WriteFileAtomic(fs, "/d", name, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, fs FS, name string) {
	t.Helper()
	if err := fs.Remove("/d/" + name); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDir_CrashNeverReusesAnIncarnation(t *testing.T) {
	// given two starts, when the power fails before any operation of theirs, then the next start
	// succeeds, keeps a disk UUID that was given out, and gets an incarnation nobody had
	work := func(fs *CrashFS, done func(string)) {
		for range 2 {
			d := openDir(t, fs, "/srv/d")
			done(strconv.FormatUint(d.Incarnation(), 10) + " " + string(d.DiskUUID()))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	crashPoints(t, work, func(t *testing.T, fs *CrashFS, done []string) {
		d := openDir(t, fs, "/srv/d")
		defer d.Close()
		for _, was := range done {
			inc, uuid, _ := strings.Cut(was, " ")
			if string(d.DiskUUID()) != uuid {
				t.Errorf("disk UUID was %s, is %s", uuid, d.DiskUUID())
			}
			if n, _ := strconv.ParseUint(inc, 10, 64); n >= d.Incarnation() {
				t.Errorf("incarnation %d was used before, got %d", n, d.Incarnation())
			}
		}
	})
}

func TestOpenDir_IncarnationNeedsItsSync(t *testing.T) {
	fs := NewCrashFS()
	if err := openDir(t, fs, "/d").Close(); err != nil {
		t.Fatal(err)
	}
	fs.IgnoreSyncs(func(string) bool { return true })
	d := openDir(t, fs, "/d")
	if again := openDir(t, fs.Crash(), "/d"); again.Incarnation() != d.Incarnation() {
		t.Fatal("the incarnation survived without a sync: this test could not notice a missing one")
	}
}

func TestOpenDir_DiskFullSaysSo(t *testing.T) {
	count := NewCrashFS()
	openDir(t, count, "/d")
	for n := range count.Ops() {
		fs := NewCrashFS()
		fs.FillUp(n)
		_, err := OpenDir(fs, "/d", euOne)
		var full *DiskFullError
		if err == nil {
			break // enough room
		}
		if !errors.As(err, &full) || full.Dir != "/d" {
			t.Fatalf("after %d writes: %v", n, err)
		}
		fs.Heal()
		openDir(t, fs, "/d")
	}
}

func TestDir_SubNames(t *testing.T) {
	d := openDir(t, NewCrashFS(), "/d")
	for name, ok := range map[string]bool{
		"homes": true, "eu-1_a.b": true, "7": true, "": false, "..": false, ".x": false, "a/b": false,
		"FORMAT": false, "LOCK": false, "a b": false, strings.Repeat("x", 201): false,
	} {
		if _, err := d.Sub(name); (err == nil) != ok {
			t.Errorf("Sub(%q): %v, want ok=%v", name, err, ok)
		}
	}
}

func FuzzDecodeFormat(f *testing.F) {
	good := format{Version: 1, Region: "eu", Node: "eu-1", DiskUUID: newDiskUUID()}
	f.Add(good.encode())
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"region":"eu"}{}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeFormat(data)
		if err != nil {
			if !errors.Is(err, ErrDamagedDir) && !errors.Is(err, ErrNewerFormat) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		again, err := decodeFormat(got.encode())
		if err != nil || again.DiskUUID != got.DiskUUID || again.Region != got.Region || again.Node != got.Node {
			t.Fatalf("%+v does not survive a round: %+v, %v", got, again, err)
		}
	})
}

func FuzzDecodeIncarnation(f *testing.F) {
	for _, n := range []uint64{0, 1, 1 << 40, math.MaxUint64} {
		f.Add(encodeIncarnation(n))
	}
	f.Add("1")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := decodeIncarnation(s); err == nil && encodeIncarnation(n) != s {
			t.Fatalf("%q decodes to %d, which encodes differently", s, n)
		}
	})
}

// A home's folder that is gone is no new home: votes were given on this disk. [B1]
func TestDir_HomeRemoved(t *testing.T) {
	fs := NewCrashFS()
	d := openDir(t, fs, "/d")
	for range 2 { // it is there, and stays
		if path, err := d.Home("home-eu"); err != nil || path != "/d/home-eu" {
			t.Fatalf("%q, %v", path, err)
		}
	}
	if _, err := d.Home("home-us"); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	fs = fs.Crash()
	if err := fs.RemoveAll("/d/home-eu"); err != nil {
		t.Fatal(err)
	}
	d = openDir(t, fs, "/d")
	if _, err := d.Home("home-eu"); !errors.Is(err, ErrDamagedDir) || !strings.Contains(err.Error(), "rejoins") {
		t.Errorf("a removed home: %v", err)
	}
	if _, err := d.Home("home-us"); err != nil {
		t.Error(err)
	}
}

// Power fails at each step of setting a copy aside: the copy is in its place, or
// the directory has another UUID. An empty folder under the old one would give its
// votes again. [B1]
func TestDir_SetAside(t *testing.T) {
	fs := NewCrashFS()
	d := openDir(t, fs, "/d")
	was := d.DiskUUID()
	path, err := d.Home("home-eu")
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(fs, path, "log", []byte("votes")); err != nil {
		t.Fatal(err)
	}
	var disks []*CrashFS
	fs.BeforeOp(func(op Op) { disks = append(disks, fs.Crash(), fs.CrashKeeping(uint64(op.N), 50)) })
	if err := d.SetAside("home-eu", "its log is damaged"); err != nil {
		t.Fatal(err)
	}
	fs.BeforeOp(nil)
	end := fs.Crash()
	whole := 0
	for i, disk := range append(disks, end) {
		d := openDir(t, disk, "/d")
		path, err := d.Home("home-eu")
		if err != nil {
			t.Fatalf("image %d: %v", i, err)
		}
		there, err := Exists(disk, path+"/log")
		if err != nil {
			t.Fatal(err)
		}
		if there {
			whole++
		} else if d.DiskUUID() == was {
			t.Errorf("image %d: an empty copy under the former disk's name", i)
		}
	}
	if d.DiskUUID() == was || whole == 0 || whole == len(disks)+1 {
		t.Errorf("disk %s, was %s; the copy was found in %d of %d images", d.DiskUUID(), was, whole, len(disks))
	}
	if b, err := ReadFile(end, "/d/home-eu.aside/WHY", 1<<10); err != nil || !strings.Contains(string(b), string(was)) || !strings.Contains(string(b), "its log is damaged") {
		t.Errorf("WHY: %q, %v", b, err)
	}
}
