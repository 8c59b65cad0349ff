package packet

import (
	"bytes"
	"slices"
	"testing"
)

func TestCutUserProperty(t *testing.T) {
	others := AppendUserProperty([]byte{propPayloadFormat, 1, propContentType, 0, 1, 'j'}, "a", "")
	ours := AppendUserProperty(nil, "trail", "eu/x")
	for name, c := range map[string]struct {
		forward, rest []byte
		values        []string
	}{
		"none":     {forward: others, rest: others},
		"empty":    {},
		"first":    {slices.Concat(ours, others), others, []string{"eu/x"}},
		"last":     {slices.Concat(others, ours), others, []string{"eu/x"}},
		"several":  {slices.Concat(ours, others, ours, others, ours), slices.Concat(others, others), []string{"eu/x", "eu/x", "eu/x"}},
		"cut off":  {slices.Concat(others, ours[:5]), slices.Concat(others, ours[:5]), nil},
		"not ours": {[]byte{0x7F, 1}, []byte{0x7F, 1}, nil},
	} {
		before := bytes.Clone(c.forward)
		values, rest := CutUserProperty(c.forward, "trail")
		if !slices.Equal(values, c.values) || !bytes.Equal(rest, c.rest) || !bytes.Equal(before, c.forward) {
			t.Errorf("%s: %q and %x, want %q and %x", name, values, rest, c.values, c.rest)
		}
	}
}

func FuzzCutUserProperty(f *testing.F) {
	f.Add(AppendUserProperty([]byte{propPayloadFormat, 1}, "k", "v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, rest := CutUserProperty(b, "k"); len(rest) > len(b) {
			t.Errorf("%d bytes became %d", len(b), len(rest))
		}
	})
}
