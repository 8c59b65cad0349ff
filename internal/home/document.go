package home

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
)

// SetDocument writes a document whole, or removes it, without a Body. It is void
// unless Seen is the revision in force; 0: there is none. Outcome.Record is the
// revision it gets.
//
// CodeQuota: there are too many, or they are too large. CodeUnknown: a document
// cannot have that name.
type SetDocument struct {
	Name string
	Seen uint64
	Body []byte
	By   string // who did it
	Note string // and why
}

// Document is one revision of a document: something small that operators set or
// have under way, for everything that serves the home in whatever region. Its Body
// is shared and must not be written.
type Document struct {
	Name     string
	Revision uint64 // number of the record that wrote it
	At       Time
	By, Note string
	Body     []byte // empty: it was removed
}

// What documents may take.
const (
	MaxDocument      = 256 << 10 // bytes of a body
	MaxDocumentName  = 128
	maxDocuments     = 512
	maxDocumentBytes = 32 << 20 // of all bodies
	maxDocumentText  = 1 << 10  // of By and of Note
)

// ObjectsDocument is the name of what is configured of a region. The last documentHistory
// revisions of it are kept, removals among them; of any other document only the one in force is.
const (
	ObjectsDocument = "objects"
	documentHistory = 32
)

// A DocumentSink is a Sink that hears of documents.
type DocumentSink interface {
	// Documented says that a document was written or removed.
	Documented(name string)
}

// documents are those in force by name, and the history of those that have one.
type documents struct {
	of      map[string]Document
	history []Document // of ObjectsDocument, oldest first
	bytes   int        // of all bodies
}

type documentID struct {
	name     string
	revision uint64 // 0, but for one that has a history
}

func (d *Document) id() documentID {
	if d.Name == ObjectsDocument {
		return documentID{d.Name, d.Revision}
	}
	return documentID{name: d.Name}
}

// Kind of the operation.
func (*SetDocument) Kind() Kind { return KindSetDocument }

func (op *SetDocument) append(b []byte) []byte {
	b = binary.AppendUvarint(appendString(b, op.Name), op.Seen)
	return appendBytes(appendString(appendString(b, op.By), op.Note), op.Body)
}

func (r *reader) setDocument() Op {
	return &SetDocument{Name: r.string(), Seen: r.uvarint(), By: r.string(), Note: r.string(), Body: r.bytes()}
}

func (op *SetDocument) size() int { return len(op.Name) + len(op.By) + len(op.Note) + len(op.Body) }

func (s *State) setDocument(op *SetDocument) Outcome {
	old, on := s.documents.of[op.Name]
	switch {
	case op.Name == "" || len(op.Name) > MaxDocumentName || !keySafe(op.Name):
		return Outcome{Code: CodeUnknown}
	case op.Seen != old.Revision || len(op.Body) == 0 && !on:
		return Outcome{Code: CodeVoid}
	case len(op.Body) > MaxDocument || len(op.By) > maxDocumentText || len(op.Note) > maxDocumentText,
		!on && len(s.documents.of) >= maxDocuments,
		len(op.Body) > len(old.Body) && s.documents.bytes+len(op.Body) > maxDocumentBytes:
		return Outcome{Code: CodeQuota}
	}
	s.putDocument(Document{op.Name, s.records + 1, s.time, op.By, op.Note, bytes.Clone(op.Body)})
	if sink, ok := s.sink.(DocumentSink); ok {
		sink.Documented(op.Name)
	}
	return Outcome{}
}

// putDocument takes a revision that is newer than all others of its name.
func (s *State) putDocument(d Document) {
	docs := &s.documents
	if d.Name == ObjectsDocument {
		s.remember(d)
	} else {
		docs.bytes -= len(docs.of[d.Name].Body)
		docs.bytes += len(d.Body)
	}
	if len(d.Body) == 0 {
		delete(docs.of, d.Name)
	} else {
		if docs.of == nil {
			docs.of = map[string]Document{}
		}
		docs.of[d.Name] = d
	}
	s.changes.document(d.id())
	s.note(effectDocument, d.sum(), d.Revision)
	s.documented.Store(d.Revision)
}

// remember adds a revision to the history.
func (s *State) remember(d Document) {
	docs := &s.documents
	if last := len(docs.history) - 1; last >= 0 && docs.history[last].Revision == d.Revision { // both in one record
		docs.bytes -= len(docs.history[last].Body)
		docs.history = docs.history[:last]
	}
	docs.history = append(docs.history, d)
	docs.bytes += len(d.Body)
	if len(docs.history) > documentHistory {
		s.changes.document(docs.history[0].id())
		docs.bytes -= len(docs.history[0].Body)
		docs.history = slices.Delete(docs.history, 0, 1)
	}
}

func (d *Document) sum() uint64 {
	h := fnv.New64a()
	_, _ = h.Write(d.encode(append([]byte(d.Name), 0)))
	return h.Sum64()
}

func (d *Document) encode(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, d.Revision), uint64(d.At))
	return appendBytes(appendString(appendString(b, d.By), d.Note), d.Body)
}

// Document returns the revision in force of a document.
func (s *State) Document(name string) (d Document, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, ok = s.documents.of[name]
	return d, ok
}

// Documents lists the documents in force by name, without their bodies.
func (s *State) Documents() []Document {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Document, 0, len(s.documents.of))
	for _, d := range s.documents.of {
		d.Body = nil
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Document) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// DocumentHistory lists what is kept of a document, oldest first.
func (s *State) DocumentHistory(name string) []Document {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if name == ObjectsDocument {
		return slices.Clone(s.documents.history)
	}
	if d, ok := s.documents.of[name]; ok {
		return []Document{d}
	}
	return nil
}

// Documented is the revision that was written last of all documents, as far as it is
// known: it is another one whenever a document changed. It takes no lock.
func (s *State) Documented() uint64 { return s.documented.Load() }

// found returns a revision of a document that is kept.
func (ds *documents) found(id documentID) (d Document, ok bool) {
	if id.name != ObjectsDocument {
		d, ok = ds.of[id.name]
		return d, ok
	}
	for _, d := range ds.history {
		if d.Revision == id.revision {
			return d, true
		}
	}
	return d, false
}

// documentKey has the revision in it, so that a history is loaded oldest first.
func documentKey(id documentID) []byte {
	b := append([]byte{tableMeta, 'd'}, id.name+"\x00"...)
	return binary.BigEndian.AppendUint64(b, id.revision)
}

func (w *writer) document(s *State, id documentID) {
	if d, ok := s.documents.found(id); ok {
		w.emit(documentKey(id), d.encode(w.buf[:0]))
	} else {
		w.delete(documentKey(id))
	}
}

// allDocuments writes everything there is of documents, for a digest.
func (w *writer) allDocuments(s *State) {
	for name, d := range s.documents.of {
		if name != ObjectsDocument {
			w.document(s, d.id())
		}
	}
	for i := range s.documents.history {
		w.document(s, s.documents.history[i].id())
	}
}

func (l *loader) document(key []byte, r *reader) {
	if len(key) < 2+1+8 {
		r.fail("key of %d bytes", len(key))
		return
	}
	name, ok := strings.CutSuffix(string(key[2:len(key)-8]), "\x00")
	d := Document{Name: name, Revision: r.uvarint(), At: Time(r.uvarint()), By: r.string(), Note: r.string(), Body: bytes.Clone(r.bytes())}
	if !ok || r.err != nil {
		r.fail("no document")
		return
	}
	last := l.s.documented.Load()
	l.s.putDocument(d)
	l.s.documented.Store(max(last, d.Revision))
}
