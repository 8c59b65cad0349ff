package raftlog

import (
	"fmt"
	"testing"

	"causeway/internal/store"
)

// BenchmarkStoreLogs appends batches of 256-byte entries, each batch synced, on a real disk.
func BenchmarkStoreLogs(b *testing.B) {
	for _, n := range []uint64{1, 64, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, err := Open(store.DiskFS(), b.TempDir()+"/log", Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			batch := entries(1, n, 1, 256)
			b.ReportAllocs()
			next := uint64(1)
			for b.Loop() {
				for _, e := range batch {
					e.Index = next
					next++
				}
				if err := l.StoreLogs(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkOpen opens a log of 64 MiB in 4 segments, which is what a start checks and syncs.
func BenchmarkOpen(b *testing.B) {
	dir, o := b.TempDir()+"/log", Options{SegmentBytes: 16 << 20}
	l, err := Open(store.DiskFS(), dir, o)
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint64(255) {
		if err := l.StoreLogs(entries(1+i*4, 4, 1, 64<<10)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for _, verify := range []bool{false, true} {
		b.Run(fmt.Sprintf("verify-%v", verify), func(b *testing.B) {
			o := o
			o.VerifySealed = verify
			for b.Loop() {
				l, err := Open(store.DiskFS(), dir, o)
				if err != nil {
					b.Fatal(err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
