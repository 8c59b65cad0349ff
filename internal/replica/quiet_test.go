package replica

import (
	"testing"

	"causeway/internal/home"
)

type listener struct {
	quiet
	names []string
}

func (l *listener) Documented(name string) { l.names = append(l.names, name) }

// A copy that stands by says which documents were written: what operators set holds in its region, too.
func TestQuiet_HearsOfDocuments(t *testing.T) {
	var to listener
	var s home.Sink = quiet{&to}
	s.(home.DocumentSink).Documented("bans")
	quiet{}.Documented("nobody listens")
	if len(to.names) != 1 || to.names[0] != "bans" {
		t.Errorf("heard of %v", to.names)
	}
}
