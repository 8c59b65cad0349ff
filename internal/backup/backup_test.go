package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
)

// kept is a home as a store has it, and a copy of that on its way out. It implements Source.
type kept struct {
	state *home.State
	keys  []string
	value map[string][]byte
}

type deaf struct{}

func (deaf) Deliver(home.Delivery)                                                {}
func (deaf) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (deaf) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (deaf) Spooled(home.ID)                                                      {}
func (deaf) Wanted()                                                              {}
func (deaf) Dropped(string, home.DropReason, int)                                 {}

// keep makes a home with so many sessions, each with two messages waiting.
func keep(t *testing.T, sessions int) *kept {
	t.Helper()
	k := &kept{state: home.New(), value: map[string][]byte{}}
	n := uint64(0)
	do := func(ops ...home.Op) {
		n++
		rec := home.Record{Home: "eu", Time: home.Time(time.Second) * home.Time(n), Entries: []home.Entry{{Owner: home.Owner{Node: "eu-1", Incarnation: 1}, N: n, Ops: ops}}}
		if err := k.state.Apply(&rec, deaf{}, func(*home.Entry, int, home.Outcome) {}); err != nil {
			t.Fatal(err)
		}
	}
	do(&home.Genesis{Home: "eu", Epoch: home.Epoch{Number: 1, Host: "eu"}})
	for i := range sessions {
		who := home.SessionKey{Namespace: "cars", ClientID: fmt.Sprintf("car-%03d", i)}
		do(&home.Attach{Session: who, Expiry: 3600})
		info, _ := k.state.Session(who)
		do(&home.Subscribe{Session: who, Epoch: info.Epoch, Filters: []home.Subscription{{Filter: "cmd/#", QoS: 1}}}, &home.Detach{Session: who, Epoch: info.Epoch})
	}
	for i := range 2 {
		do(&home.Publish{Session: home.SessionKey{Namespace: "cars"}, Topic: fmt.Sprintf("cmd/%d", i), Payload: []byte(strings.Repeat("x", 300)), QoS: 1})
	}
	k.state.Flush(func(key, value []byte) { k.value[string(key)] = slices.Clone(value) }, func(key []byte) { delete(k.value, string(key)) })
	for key := range k.value {
		k.keys = append(k.keys, key)
	}
	slices.Sort(k.keys)
	return k
}

func (k *kept) Position() home.CopyPosition { return k.state.Position() }

func (k *kept) Next(after []byte, _ int) (chunk, last []byte, err error) {
	i := 0
	if after != nil {
		i, _ = slices.BinarySearch(k.keys, string(after))
		i++
	}
	for ; i < len(k.keys) && len(chunk) < 400; i++ { // small, so that there are many parts
		for _, b := range [][]byte{[]byte(k.keys[i]), k.value[k.keys[i]]} {
			chunk = append(binary.AppendUvarint(chunk, uint64(len(b))), b...)
		}
		last = []byte(k.keys[i])
	}
	return chunk, last, nil
}

func (k *kept) about() About {
	return About{Home: "eu", Level: k.state.Level(), Version: "v1", Region: "eu", Node: "eu-1", Place: "eu"}
}

func write(t *testing.T, k *kept, to Place, key Key) Manifest {
	t.Helper()
	m, err := Write(t.Context(), k, k.about(), to, Options{Key: key, PartBytes: 500})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newKey(t *testing.T) (both, public Key) {
	t.Helper()
	secret, to, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if both, err = parseKey([]byte(secret)); err != nil {
		t.Fatal(err)
	}
	if public, err = parseKey([]byte(to)); err != nil {
		t.Fatal(err)
	}
	return both, public
}

// What is read is what was written, by whoever has the key, and the state that it opens is the one there was.
func TestWrite_ReadsBack(t *testing.T) {
	both, public := newKey(t)
	for name, keys := range map[string][2]Key{"plain": {}, "encrypted": {public, both}} {
		t.Run(name, func(t *testing.T) {
			k, dir := keep(t, 20), Dir(t.TempDir())
			m := write(t, k, dir, keys[0])
			if len(m.Parts) < 4 {
				t.Fatalf("it has %d parts, so nothing is shown about several", len(m.Parts))
			}
			again, err := Find(t.Context(), dir, m.Name)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			err = Read(t.Context(), dir, &again, keys[1], func(key, value []byte) error {
				if string(value) != string(k.value[string(key)]) {
					t.Errorf("key %x has another value", key)
				}
				got = append(got, string(key))
				return nil
			})
			if err != nil || !slices.Equal(got, k.keys) {
				t.Fatalf("%d of %d keys came back, %v", len(got), len(k.keys), err)
			}
			found, err := Verify(t.Context(), dir, &again, keys[1])
			if err != nil {
				t.Fatal(err)
			}
			if found.State.Digest() != k.state.Digest() || found.Sessions != 20 {
				t.Errorf("the state that it opens is another one: %d sessions", found.Sessions)
			}
		})
	}
}

func TestRead_NeedsTheKey(t *testing.T) {
	_, public := newKey(t)
	other, _ := newKey(t)
	k, dir := keep(t, 20), Dir(t.TempDir())
	m := write(t, k, dir, public)
	for name, key := range map[string]Key{"none": {}, "public": public, "another": other} {
		if _, err := Verify(t.Context(), dir, &m, key); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, e := range k.keys {
		for _, p := range m.Parts {
			b, _ := os.ReadFile(filepath.Join(string(dir), m.Name, p.Name))
			if len(e) > 12 && strings.Contains(string(b), e[1:]) {
				t.Fatalf("%s holds a key in clear", p.Name)
			}
		}
	}
}

// Whatever happens to a file, no part of it is believed.
func TestVerify_FindsDamage(t *testing.T) {
	both, _ := newKey(t)
	for name, key := range map[string]Key{"plain": {}, "encrypted": both} {
		t.Run(name, func(t *testing.T) {
			dir := Dir(t.TempDir())
			m := write(t, keep(t, 20), dir, key)
			files := []string{manifestFile}
			for _, p := range m.Parts {
				files = append(files, p.Name)
			}
			for _, file := range files {
				path := filepath.Join(string(dir), m.Name, file)
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				check := func(what string, b []byte) {
					t.Helper()
					if err := os.WriteFile(path, b, 0o600); err != nil {
						t.Fatal(err)
					}
					if err := verify(t, dir, m.Name, key); err == nil {
						t.Errorf("%s %s: not noticed", file, what)
					}
				}
				for i := 0; i < len(whole); i += max(1, len(whole)/40) {
					bad := slices.Clone(whole)
					bad[i] ^= 0x20
					check(fmt.Sprintf("with byte %d changed", i), bad)
				}
				check("cut short", whole[:len(whole)-1])
				check("with a byte more", append(slices.Clone(whole), 'x'))
				check("empty", nil)
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := verify(t, dir, m.Name, key); err == nil {
					t.Errorf("%s gone: not noticed", file)
				}
				if err := os.WriteFile(path, whole, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := verify(t, dir, m.Name, key); err != nil {
				t.Errorf("undamaged again: %v", err)
			}
		})
	}
}

func verify(t *testing.T, dir Dir, name string, key Key) error {
	m, err := Find(t.Context(), dir, name)
	if err != nil {
		return err
	}
	_, err = Verify(t.Context(), dir, &m, key)
	return err
}

// failing is a place whose nth Put fails, or after which the writer is gone.
type failing struct {
	Place
	left   int
	killed bool
}

var errFull = errors.New("no space left")

func (f *failing) Put(ctx context.Context, name, file, path string) error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return f.Place.Put(ctx, name, file, path)
}

func (f *failing) Remove(ctx context.Context, name string) error {
	if f.killed {
		return nil
	}
	return f.Place.Remove(ctx, name)
}

// A backup that was not finished is none, wherever it ended, and a writer that lives on removes it.
func TestWrite_HalfWrittenIsNone(t *testing.T) {
	k, last := keep(t, 20), 0
	for n := 0; ; n++ {
		dir := Dir(t.TempDir())
		_, err := Write(t.Context(), k, k.about(), &failing{Place: dir, left: n, killed: n%2 == 0}, Options{PartBytes: 500})
		if err == nil {
			last = n
			break
		}
		names, lerr := dir.Names(t.Context())
		if !errors.Is(err, errFull) || lerr != nil || len(names) > 0 {
			t.Fatalf("ended at file %d: %v; listed: %v, %v", n, err, names, lerr)
		}
		left, _ := os.ReadDir(string(dir))
		if n%2 == 1 && len(left) > 0 {
			t.Errorf("ended at file %d: %v is left", n, left)
		}
		if err := dir.Tidy(time.Now().Add(staleStage + time.Hour)); err != nil {
			t.Error(err)
		}
		if left, _ = os.ReadDir(string(dir)); len(left) > 0 {
			t.Errorf("ended at file %d: %v is left after a week", n, left)
		}
	}
	if last < 5 {
		t.Errorf("it has %d files only", last)
	}
}

func TestTidy_LeavesWhatIsNotItsOwn(t *testing.T) {
	dir := Dir(t.TempDir())
	m := write(t, keep(t, 20), dir, Key{})
	for _, other := range []string{"photos", "notes"} {
		if err := os.MkdirAll(filepath.Join(string(dir), other), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(string(dir), "photos", "sea.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.Tidy(time.Now().Add(10 * staleStage)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"photos/sea.jpg", "notes", m.Name + "/" + manifestFile} {
		if _, err := os.Stat(filepath.Join(string(dir), path)); err != nil {
			t.Error(err)
		}
	}
}

func TestPrune_KeepsTheNewest(t *testing.T) {
	dir := Dir(t.TempDir())
	k := keep(t, 20)
	var names []string
	for i := range 4 {
		m := write(t, k, dir, Key{})
		// As if they were written a day apart.
		m.Time = m.Time.Add(time.Duration(i+1) * 24 * time.Hour)
		old := m.Name
		m.Name = nameOf("eu", m.Time, m.Record)
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(string(dir), old), filepath.Join(string(dir), m.Name)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(string(dir), m.Name, manifestFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, m.Name)
	}
	if removed, err := Prune(t.Context(), dir, "us", 1); err != nil || len(removed) > 0 {
		t.Fatalf("another home's: %v, %v", removed, err)
	}
	removed, err := Prune(t.Context(), dir, "eu", 3)
	if err != nil || !slices.Equal(removed, names[:1]) {
		t.Fatalf("removed %v, %v", removed, err)
	}
	left, _ := dir.Names(t.Context())
	if !slices.Equal(left, names[1:]) {
		t.Errorf("left %v", left)
	}
}

// Two backups of an idle home within a second do not touch each other.
func TestWrite_TwiceInASecond(t *testing.T) {
	dir := Dir(t.TempDir())
	for range 2 {
		write(t, keep(t, 20), dir, Key{})
	}
	list, err := List(t.Context(), dir, "eu")
	if err != nil || len(list) != 2 || list[0].Name == list[1].Name {
		t.Fatalf("%d backups, %v", len(list), err)
	}
	for i := range list {
		if _, err := Verify(t.Context(), dir, &list[i], Key{}); err != nil {
			t.Error(err)
		}
	}
}

// A backup of a node whose clock was years ahead does not keep others from being made.
func TestNewest_NotOfAWrongClock(t *testing.T) {
	dir := Dir(t.TempDir())
	m := write(t, keep(t, 20), dir, Key{})
	ahead := nameOf("eu", m.Time.AddDate(5, 0, 0), m.Record)
	if err := os.CopyFS(filepath.Join(string(dir), ahead), os.DirFS(filepath.Join(string(dir), m.Name))); err != nil {
		t.Fatal(err)
	}
	if at, err := Newest(t.Context(), dir, "eu"); err != nil || !at.Equal(m.Time) {
		t.Fatalf("newest of %v, %v; want %v", at, err, m.Time)
	}
}

func TestValidName(t *testing.T) {
	for name, ok := range map[string]bool{"eu-20260301T120000Z-1": true, "": false, ".": false, "..": false, "a/b": false, "../x": false, "-rf": false, ".writing-1": false,
		strings.Repeat("x", 301): false, "a\x00b": false, "a b": false} {
		if ValidName(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}

func TestReadKey(t *testing.T) {
	secret, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	for name, c := range map[string]struct {
		text         string
		seals, opens bool
		fails        bool
	}{
		"secret": {text: secret, seals: true, opens: true}, "public": {text: "# ours\n\n" + public, seals: true}, "empty": {fails: true}, "words": {text: "hunter2\n", fails: true},
		"cut secret": {text: strings.TrimSpace(secret)[:60] + "\nAGE-SECRET-KEY-1QQ\n", fails: true},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := ReadKey(path)
		if (err != nil) != c.fails || k.Seals() != c.seals || k.Opens() != c.opens {
			t.Errorf("%s: seals %v, opens %v, %v", name, k.Seals(), k.Opens(), err)
		}
		if err != nil && (strings.Contains(err.Error(), "SECRET-KEY-1QQ") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: the error shows what is in the file: %v", name, err)
		}
	}
	if k, err := ReadKey(""); err != nil || k.Seals() {
		t.Errorf("none: %v", err)
	}
}

// A program that keeps files in a folder, and fails the first time.
const hookScript = `#!/bin/sh
read -r line
field() { printf '%s' "$line" | sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
root=$(field to | sed 's,^test://,,') name=$(field name) file=$(field file)
if [ ! -e "$root/warm" ]; then : > "$root/warm"; echo "not awake" >&2; exit 1; fi
case $(field call) in
put) mkdir -p "$root/$(dirname "$name")" && cp "$file" "$root/$name" ;;
get) [ -e "$root/$name" ] || exit 3; cp "$root/$name" "$file" ;;
list) cd "$root" && find . -type f | sed 's,^\./,,' ;;
remove) rm -rf "${root:?}/$name" ;;
esac
`

// Object storage is whatever a program does: it is tried again, and what it lacks is missing.
func TestHook_Place(t *testing.T) {
	tmp := t.TempDir()
	program, root := filepath.Join(tmp, "hook"), filepath.Join(tmp, "bucket")
	if err := errors.Join(os.WriteFile(program, []byte(hookScript), 0o700), os.Mkdir(root, 0o700)); err != nil {
		t.Fatal(err)
	}
	h := &Hook{Program: program, To: "test://" + root, Temp: filepath.Join(tmp, "temp")}
	both, _ := newKey(t)
	m := write(t, keep(t, 20), h, both)
	if _, err := Verify(t.Context(), h, &m, both); err != nil {
		t.Fatal(err)
	}
	if list, err := List(t.Context(), h, "eu"); err != nil || len(list) != 1 || list[0].Name != m.Name {
		t.Fatalf("listed %v, %v", list, err)
	}
	if err := os.Remove(filepath.Join(root, m.Name, m.Parts[1].Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), h, &m, both); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a part missing: %v", err)
	}
	if _, err := Find(t.Context(), h, "eu-20200101T000000Z-1"); !errors.Is(err, ErrNoBackup) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := h.Remove(t.Context(), m.Name); err != nil {
		t.Fatal(err)
	}
	if names, err := h.Names(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("left %v, %v", names, err)
	}
	if left, _ := os.ReadDir(h.Temp); len(left) > 0 {
		t.Errorf("%v is left on this machine", left)
	}
}

func TestHook_Fails(t *testing.T) {
	tmp := t.TempDir()
	program := filepath.Join(tmp, "hook")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho access denied >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // before it is tried again
	defer cancel()
	h := &Hook{Program: program, To: "s3://b", Temp: filepath.Join(tmp, "temp")}
	_, err := h.once(ctx, HookCall{Call: "list", To: h.To})
	if err == nil || !strings.Contains(err.Error(), "access denied") && ctx.Err() == nil {
		t.Errorf("%v", err)
	}
}

// FuzzReadParts: whatever stands in a part, reading it ends with an error or with keys in order.
func FuzzReadParts(f *testing.F) {
	f.Add([]byte{1, 'a', 1, 'b'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_ = eachPair(b, func(_, _ []byte) { n++ })
		if n > len(b) {
			t.Fatalf("%d pairs of %d bytes", n, len(b))
		}
		if _, err := decodeManifest(b, "x"); err == nil {
			t.Fatal("a manifest without a checksum")
		}
	})
}

var _ io.ReadCloser = (*os.File)(nil)
