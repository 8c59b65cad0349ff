package app_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"causeway/internal/app"
	"causeway/internal/home"
)

func TestDocuments_AreWrittenAndHeardOf(t *testing.T) {
	yaml := fmt.Sprintf("region: eu\nnode: eu-1\ndata_dir: %s\nadmin: {socket: \"\"}\nlisteners: []\n", t.TempDir())
	n := start(t, yaml, app.Options{NoAdmin: true})
	docs := n.Documents()
	await(t, "the home's feature level", func() bool { return n.State().Level() >= home.LevelOf(home.KindSetDocument) })

	var mu sync.Mutex
	heard := map[string]string{}
	watching, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		docs.Watch(watching, "node/", func(d home.Document) {
			mu.Lock()
			defer mu.Unlock()
			heard[d.Name] = string(d.Body)
		})
	}()
	hears := func(name, body string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			got, ok := heard[name]
			return ok && got == body
		}
	}
	set := func(name string, seen uint64, body string) (uint64, error) {
		return docs.Set(t.Context(), name, seen, []byte(body), "alice", "")
	}
	rev, err := set("node/eu-1", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "what is new", hears("node/eu-1", "one"))
	if _, err := set("node/eu-1", 0, "two"); !errors.Is(err, app.ErrDocumentChanged) {
		t.Errorf("written from a revision that is not in force: %v", err)
	}
	if _, err := set("other", 0, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := set("big", 0, string(make([]byte, home.MaxDocument+1))); !errors.Is(err, app.ErrDocumentFull) {
		t.Errorf("too large: %v", err)
	}
	if _, err := set("node/eu-1", rev, ""); err != nil {
		t.Fatal(err)
	}
	await(t, "what is gone", hears("node/eu-1", ""))

	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			_, err := docs.Edit(t.Context(), "node/count", "bob", "", func(b []byte) ([]byte, error) { return append(b[:len(b):len(b)], '|'), nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	await(t, "eight edits", hears("node/count", "||||||||"))
	stop()
	<-ended
	mu.Lock()
	defer mu.Unlock()
	if _, ok := heard["other"]; ok {
		t.Error("a document outside the prefix was told")
	}
}
