package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile bounds the node file.
const maxFile = 1 << 20

// layer is what one place (the file, a variable) sets. Single values stay text until they are
// decoded, whatever YAML thinks they are, so that 1.20, 007 and on mean what was typed.
type layer struct {
	values   map[string]any
	sources  *Sources
	problems []*Problem
	place    func(n *yaml.Node) Source
	root     *field // the keys there are; nil: those of the node file
}

// readFile reads the node file; a file that is not there is an error, it was asked for.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w; correct --config or CAUSEWAY_CONFIG", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read configuration %s: larger than %s: not a node file", path, ByteSize(maxFile))
	}
	return data, nil
}

// parseFile turns the file's content into a layer.
func (l *layer) parseFile(path string, data []byte) {
	l.place = func(n *yaml.Node) Source { return Source{Kind: FromFile, Name: path, Line: n.Line} }
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // an empty file sets nothing
	}
	if err != nil {
		l.syntax(path, err)
		return
	}
	root := resolve(doc.Content[0])
	if isNull(root) {
		return
	}
	if root.Kind != yaml.MappingNode {
		l.problem(root, "", "the file is no mapping of keys to values", "begin with a key such as region: eu")
		return
	}
	l.values = l.mapping(l.keys(), root, "")
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.problems = append(l.problems, &Problem{Source: Source{Kind: FromFile, Name: path, Line: lastLine(&doc) + 1},
			What: "a second document begins after ---", Fix: "keep one document a file"})
	}
}

// yamlLine finds the line in an error of the YAML library, which has no field for it.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (l *layer) syntax(path string, err error) {
	text, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	l.problems = append(l.problems, &Problem{Source: Source{Kind: FromFile, Name: path, Line: line},
		What: "not YAML: " + text, Fix: "indent with spaces and quote texts that hold : or #"})
}

func (l *layer) keys() *field {
	if l.root != nil {
		return l.root
	}
	return schema
}

func (l *layer) problem(n *yaml.Node, key, what, fix string) {
	l.problems = append(l.problems, &Problem{Key: key, Source: l.place(n), What: what, Fix: fix})
}

// mapping reads the keys of a section.
func (l *layer) mapping(f *field, n *yaml.Node, path string) map[string]any {
	values, lines := map[string]any{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		key := join(path, name.Value)
		child := f.child(name.Value)
		if child == nil {
			l.problem(name, key, "unknown key", l.suggestion(f, path, name.Value))
			continue
		}
		if first, again := lines[name.Value]; again {
			l.problem(name, key, fmt.Sprintf("set twice, first in line %d", first), "keep one of them")
			continue
		}
		lines[name.Value] = name.Line
		if isNull(value) {
			continue // key: with nothing behind it leaves the default
		}
		if v, ok := l.value(child, value, key); ok {
			values[name.Value] = v
		}
	}
	return values
}

// value reads one key's value in the shape the schema has for it.
func (l *layer) value(f *field, n *yaml.Node, path string) (any, bool) {
	switch {
	case f.isSection() && n.Kind == yaml.MappingNode:
		return l.mapping(f, n, path), true
	case f.isList() && n.Kind == yaml.SequenceNode:
		return l.list(f, n, path), true
	case !f.isSection() && !f.isList() && n.Kind == yaml.ScalarNode:
		l.sources.set(path, l.place(n))
		return n.Value, true
	}
	l.problem(n, path, got(n), "want "+form(f.typ))
	return nil, false
}

func (l *layer) list(f *field, n *yaml.Node, path string) []any {
	l.sources.set(path, l.place(n))
	items := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		key := fmt.Sprintf("%s[%d]", path, i)
		item = resolve(item)
		l.sources.set(key, l.place(item))
		if f.elem.typ == listenerType && item.Kind == yaml.ScalarNode {
			items = append(items, l.shortListener(item.Value, key, l.place(item)))
			continue
		}
		v, _ := l.value(f.elem, item, key)
		items = append(items, v) // a bad item too, or the errors of those after it would name other ones
	}
	return items
}

// shortListener notes where the parts of TYPE://HOST:PORT came from and leaves the text to decode.
func (l *layer) shortListener(text, key string, src Source) string {
	l.sources.noteShortListener(text, key, src)
	return text
}

// got describes what stands where something else was expected.
func got(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping stands here"
	case yaml.SequenceNode:
		return "a list stands here"
	default:
		return fmt.Sprintf("%q stands here", n.Value)
	}
}

func (l *layer) suggestion(f *field, path, key string) string {
	if l.root != nil && schema.at(join(path, key)) {
		return "it belongs into the node file: it is about one node"
	}
	if near := nearest(l.keys(), f, path, key); near != "" {
		return "did you mean " + near + "?"
	}
	var known []string
	for _, c := range f.children {
		known = append(known, c.key)
	}
	return "known here are " + strings.Join(known, ", ")
}

// resolve follows an alias (*name) to its anchor.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func lastLine(n *yaml.Node) int {
	line := n.Line
	for _, c := range n.Content {
		line = max(line, lastLine(c))
	}
	return line
}
