package store

// crashFile is a file or directory of a CrashFS: its writes and syncs are counted, may fail, and may
// be ignored.
type crashFile struct {
	File
	fs   *CrashFS
	path string
	dir  bool
}

// Write implements File. A short write takes the first half, as a full disk does.
func (f *crashFile) Write(p []byte) (int, error) {
	return f.write(p, f.File.Write)
}

// WriteAt implements File.
func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *crashFile) write(p []byte, do func([]byte) (int, error)) (int, error) {
	short, err := f.fs.begin(OpWrite, f.path)
	if err != nil && !short {
		return 0, err
	}
	if short {
		p = p[:len(p)/2]
	}
	f.fs.gate.RLock()
	defer f.fs.gate.RUnlock()
	n, werr := do(p)
	if err == nil {
		err = werr
	}
	return n, err
}

// Sync implements File.
func (f *crashFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements File.
func (f *crashFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *crashFile) sync(do func() error) error {
	kind := OpSync
	if f.dir {
		kind = OpDirSync
	}
	return f.fs.mutate(kind, f.path, func() error {
		if f.fs.syncIgnored(f.path) {
			return nil
		}
		return do()
	})
}

// Preallocate implements File.
func (f *crashFile) Preallocate(offset, length int64) error {
	return f.fs.mutate(OpAllocate, f.path, func() error { return f.File.Preallocate(offset, length) })
}
