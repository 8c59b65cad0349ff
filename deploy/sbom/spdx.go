package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"runtime/debug"
	"strings"
)

// document is an SPDX 2.3 document (https://spdx.github.io/spdx-spec/v2.3/).
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []component    `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type component struct {
	ID         string      `json:"SPDXID"`
	Name       string      `json:"name"`
	Version    string      `json:"versionInfo,omitempty"`
	Location   string      `json:"downloadLocation"`
	Analyzed   bool        `json:"filesAnalyzed"`
	Checksums  []checksum  `json:"checksums,omitempty"`
	References []reference `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const binaryID = "SPDXRef-binary"

// describe makes the document of a binary with the SHA-256 sum (hex). Two builds of the same sources give the same document:
// the time is the revision's, or the epoch, and the namespace is the sum.
func describe(info *debug.BuildInfo, sum string) document {
	doc := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: info.Path,
		Namespace: "https://spdx.org/spdxdocs/causeway-" + sum,
		Creation:  creation{Created: setting(info, "vcs.time", "1970-01-01T00:00:00Z"), Creators: []string{"Tool: causeway/deploy/sbom"}},
	}
	binary := component{ID: binaryID, Name: info.Path, Version: setting(info, "vcs.revision", info.Main.Version),
		Location: "NOASSERTION", Checksums: []checksum{{"SHA256", sum}}}
	doc.Packages = append(doc.Packages, binary, goModule("stdlib", strings.TrimPrefix(info.GoVersion, "go"), ""))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		doc.Packages = append(doc.Packages, goModule(m.Path, m.Version, m.Sum))
	}
	doc.Relationships = append(doc.Relationships, relationship{doc.ID, "DESCRIBES", binaryID})
	for _, p := range doc.Packages[1:] {
		doc.Relationships = append(doc.Relationships, relationship{binaryID, "CONTAINS", p.ID})
	}
	return doc
}

// goModule describes a module; sum is as in go.sum: "h1:" and the base64 of a SHA-256 over its files.
func goModule(path, version, sum string) component {
	c := component{ID: "SPDXRef-" + spdxID(path), Name: path, Version: version, Location: "NOASSERTION",
		References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + version}}}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(raw) == sha256.Size {
		c.Checksums = []checksum{{"SHA256", hex.EncodeToString(raw)}}
	}
	return c
}

// spdxID replaces what an SPDX identifier may not hold.
func spdxID(path string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, path)
}

func setting(info *debug.BuildInfo, key, fallback string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return fallback
}

func sha256File(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
