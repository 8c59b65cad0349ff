package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"causeway/internal/store"
)

func act(i int) Act {
	a := Act{State: Done, Who: "ops", Role: "admin", Action: "POST /v1/peers/{peer}/forget", Target: fmt.Sprintf("peer-%d", i)}
	a.SetRequest([]byte(`{"why":"` + strings.Repeat("x", i%50) + `"}`))
	return a
}

func open(t *testing.T, fs store.FS, o Options) *Log {
	t.Helper()
	l := New(fs, "audit", o)
	if _, err := l.Verify(); err != nil {
		t.Fatal(err)
	}
	return l
}

func fill(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Add(act(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func exported(t *testing.T, l *Log) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := l.Export(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// small makes a log of many files.
var small = Options{FileBytes: 2000, KeepBytes: 1 << 20}

// The log goes on over restarts, and pages of it are whole and in order.
func TestLog_GoesOn(t *testing.T) {
	fs := store.NewCrashFS()
	for run := range 3 {
		l := open(t, fs, small)
		fill(t, l, 10+run)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, fs, small)
	v, err := l.Verify()
	if err != nil || v.Records != 33 || v.First != 1 || v.Last != 33 {
		t.Fatalf("%+v, %v", v, err)
	}
	var all []Record
	for after := uint64(0); ; {
		page, err := l.After(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = page[len(page)-1].N
	}
	for i, r := range all {
		if r.N != uint64(i+1) || r.Who != "ops" || r.RequestHash == "" {
			t.Errorf("record %d: %+v", i+1, r)
		}
	}
	if len(all) != 33 {
		t.Errorf("%d records in pages", len(all))
	}
}

// crashes adds records on a disk that forgets what was not synced, loses power after each of many operations, and says
// what is wrong with the log after it.
func crashes(t *testing.T, ignore func(string) bool) (wrong []string) {
	t.Helper()
	for seed := range uint64(100) {
		fs := store.NewCrashFS()
		if ignore != nil {
			fs.IgnoreSyncs(ignore)
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		told := uint64(0)
		for range 3 {
			l := New(fs, "audit", small)
			if v, err := l.Verify(); err != nil || v.Last < told {
				wrong = append(wrong, fmt.Sprintf("seed %d: %d records of %d, %v", seed, v.Last, told, err))
			}
			fs.FailAfter(rng.IntN(60), errors.New("the power is gone"))
			for i := range 40 {
				r, err := l.Add(act(i))
				if err != nil {
					break
				}
				told = r.N
			}
			fs = fs.CrashKeeping(seed, 50)
			if ignore != nil {
				fs.IgnoreSyncs(ignore)
			}
		}
	}
	return wrong
}

// Whatever Add returned is there after a loss of power at any moment, and the log verifies.
func TestLog_PowerLoss(t *testing.T) {
	for _, w := range crashes(t, nil) {
		t.Error(w)
	}
}

// The test above finds a log that does not sync.
func TestLog_PowerLoss_Planted(t *testing.T) {
	if w := crashes(t, func(path string) bool { return strings.HasSuffix(path, suffix) }); len(w) == 0 {
		t.Error("nothing was found though files are not synced")
	}
}

// A write that fails leaves no half of a record, and the log goes on.
func TestLog_DiskFull(t *testing.T) {
	fs := store.NewCrashFS()
	l := open(t, fs, small)
	fill(t, l, 3)
	fs.ShortWriteAfter(0, errors.New("no space left on device"))
	if _, err := l.Add(act(3)); err == nil {
		t.Fatal("the record was taken")
	}
	fs.Heal()
	fill(t, l, 2)
	if v, err := l.Verify(); err != nil || v.Last != 5 || v.Records != 5 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := open(t, fs, small).Verify(); err != nil || v.Last != 5 {
		t.Errorf("opened again: %+v, %v", v, err)
	}
}

// The oldest files go when there is more than is kept; what is left verifies and says where it begins.
func TestLog_Keeps(t *testing.T) {
	l := open(t, store.NewCrashFS(), Options{FileBytes: 2000, KeepBytes: 6000})
	fill(t, l, 100)
	v, err := l.Verify()
	if err != nil || v.First <= 1 || v.Last != 100 || v.Records != v.Last-v.First+1 {
		t.Errorf("%+v, %v", v, err)
	}
	if n := len(exported(t, l)); n > 6000 {
		t.Errorf("%d bytes are kept", n)
	}
	if page, err := l.After(0, 5); err != nil || len(page) != 5 || page[0].N != v.First {
		t.Errorf("%+v, %v", page, err)
	}
}

// Each byte that is changed, each record that is taken out, doubled or moved shows.
func TestVerify_Altered(t *testing.T) {
	l := open(t, store.NewCrashFS(), small)
	fill(t, l, 8)
	whole := exported(t, l)
	if _, err := Verify(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	altered := func(what string, b []byte) {
		if _, err := Verify(bytes.NewReader(b)); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole[:len(whole)-1] {
		b := bytes.Clone(whole)
		b[i] ^= 1
		altered(fmt.Sprintf("byte %d", i), b)
	}
	lines := bytes.SplitAfter(whole, []byte{'\n'})
	for i := 1; i < 7; i++ {
		altered(fmt.Sprintf("without line %d", i+1), bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil))
		altered(fmt.Sprintf("line %d twice", i+1), bytes.Join(append(append([][]byte{}, lines[:i+1]...), lines[i:]...), nil))
	}
}

// A record is bounded, whatever came with the request.
func TestAct_Bounds(t *testing.T) {
	l := open(t, store.NewCrashFS(), Options{})
	a := act(1)
	a.Reason, a.Target = strings.Repeat("<", 1<<20), strings.Repeat("<", 1<<20)
	a.SetRequest(bytes.Repeat([]byte{'<'}, 1<<20))
	if _, err := l.Add(a); err != nil {
		t.Fatal(err)
	}
	if n := len(exported(t, l)); n > maxLine {
		t.Errorf("%d bytes", n)
	}
	if _, err := l.Verify(); err != nil {
		t.Error(err)
	}
}
