package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// The test's own binary is one that Go built.
func TestRun_ListsWhatIsLinked(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(self, &out); err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Packages[0].ID != binaryID || len(doc.Packages[0].Checksums[0].Value) != 64 {
		t.Errorf("the binary is described as %+v", doc.Packages[0])
	}
	if !slices.ContainsFunc(doc.Packages, func(c component) bool { return c.Name == "stdlib" }) {
		t.Errorf("no standard library in %s", out.String())
	}
}

func TestDescribe(t *testing.T) {
	info := &debug.BuildInfo{Path: "causeway/cmd/causeway", GoVersion: "go1.26.0", Deps: []*debug.Module{
		{Path: "example.com/a_b/v2", Version: "v2.1.0", Sum: "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v1.1.0"}},
	}}
	doc := describe(info, strings.Repeat("0", 64))
	var names []string
	for _, p := range doc.Packages[1:] {
		names = append(names, p.ID+" "+p.References[0].Locator)
	}
	want := []string{
		"SPDXRef-stdlib pkg:golang/stdlib@1.26.0",
		"SPDXRef-example.com-a-b-v2 pkg:golang/example.com/a_b/v2@v2.1.0",
		"SPDXRef-example.com-new pkg:golang/example.com/new@v1.1.0",
	}
	if !slices.Equal(names, want) {
		t.Errorf("listed %q, want %q", names, want)
	}
	if got := doc.Packages[2].Checksums; len(got) != 1 || got[0].Value != strings.Repeat("0", 64) {
		t.Errorf("the sum of a module is %v", got)
	}
	if len(doc.Relationships) != len(doc.Packages) {
		t.Errorf("%d relationships of %d packages", len(doc.Relationships), len(doc.Packages))
	}
}

func TestRun_RefusesOtherFiles(t *testing.T) {
	if err := run("main.go", &bytes.Buffer{}); err == nil {
		t.Error("a text was taken for a binary")
	}
}
