package store

import (
	"encoding/binary"
	"testing"
)

// BenchmarkCommit1000 commits 1000 new keys of 16 bytes with 256-byte values on a real disk, as a
// write-behind flush of one busy second would; Flush is included once per 32 commits.
func BenchmarkCommit1000(b *testing.B) {
	s, err := Open(DiskFS(), b.TempDir()+"/s", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var key [16]byte
	value := make([]byte, 256)
	b.SetBytes(1000 * int64(len(key)+len(value)))
	b.ReportAllocs()
	index := uint64(0)
	for b.Loop() {
		index++
		batch := s.NewBatch()
		for j := range 1000 {
			binary.BigEndian.PutUint64(key[:], 'k'<<56|index)
			binary.BigEndian.PutUint64(key[8:], uint64(j))
			batch.Set(key[:], value)
		}
		if err := batch.Commit(index, 1); err != nil {
			b.Fatal(err)
		}
		if index%32 == 0 {
			if _, err := s.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(index)/1000, "ns/key")
}

// BenchmarkFlush measures a flush of 1 MiB, which is what a durable checkpoint of a quiet home costs.
func BenchmarkFlush(b *testing.B) {
	s, err := Open(DiskFS(), b.TempDir()+"/s", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	value := make([]byte, 1<<10)
	index := uint64(0)
	for b.Loop() {
		index++
		batch := s.NewBatch()
		for j := range 1024 {
			batch.Set(binary.BigEndian.AppendUint32([]byte{'k'}, uint32(j)), value)
		}
		if err := batch.Commit(index, 1); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}
