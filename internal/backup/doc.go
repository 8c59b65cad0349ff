// Package backup keeps a home's state outside of its region: what was acknowledged up to one record of
// its log, in files that say what they are and are checked before they are believed.
//
// A backup is a folder of parts and a manifest. A part is the keys and values of the store, ascending, in
// the form of Copier's chunks, compressed (zstd) and, with a key, encrypted (age). The manifest has size and
// SHA-256 of each part and is written last: a folder without one is no backup, whatever else is in it.
//
//	eu-20260301T120000Z-48211-9b3f0c/
//	    part-00001 ...
//	    MANIFEST.json
//
// Who owns what: a Source is read by Write alone; a Place owns the folders below its root. Write, Read and
// Verify may run side by side on different backups.
//
// What it is not: it takes no copy of a home (replica does), decides no schedule and raises no epoch (app
// and replica do). A manifest proves that nothing was damaged, not who wrote it: who may write to the place
// is the place's to say.
package backup
