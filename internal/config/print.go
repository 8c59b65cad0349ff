package config

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"text/tabwriter"
	"time"

	"gopkg.in/yaml.v3"
)

// Format is how Print writes.
type Format string

// The formats of Print.
const (
	Text Format = "text" // a line a key: key, value, source
	JSON Format = "json" // a list of {key, value, source}
	YAML Format = "yaml" // a node file, the sources as comments
)

// Print writes every value and where it came from. Secrets are references in Config, so nothing
// printed is secret. What YAML writes is a node file that loads to the same Config.
func Print(w io.Writer, cfg *Config, sources *Sources, format Format) error {
	switch format {
	case Text:
		return printText(w, cfg, sources)
	case JSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(entries(schema, reflect.ValueOf(*cfg), "", sources))
	case YAML:
		enc := yaml.NewEncoder(w)
		enc.SetIndent(2)
		if err := enc.Encode(yamlNode(schema, reflect.ValueOf(*cfg), "", sources)); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
		return enc.Close()
	default:
		return fmt.Errorf("format %q: want %s, %s or %s", format, Text, JSON, YAML)
	}
}

// entry is one value with its source.
type entry struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Source string `json:"source"`
}

// entries lists the values below f in the order of the struct. Lists of single values are one
// entry, and so is an empty list.
func entries(f *field, v reflect.Value, path string, sources *Sources) []entry {
	var all []entry
	switch {
	case f.isSection():
		for _, c := range f.children {
			all = append(all, entries(c, v.Field(c.index), join(path, c.key), sources)...)
		}
	case f.isList() && f.elem.isSection() && v.Len() > 0:
		for i := range v.Len() {
			all = append(all, entries(f.elem, v.Index(i), fmt.Sprintf("%s[%d]", path, i), sources)...)
		}
	default:
		all = append(all, entry{path, plain(v), sources.Of(path).String()})
	}
	return all
}

// plain turns a value into what JSON would have of the same text in the file: numbers, booleans,
// lists, and text for the rest.
func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Duration:
		return FormatDuration(x)
	case Rate:
		return x.String()
	case ByteSize:
		return x.String()
	case Bandwidth:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int:
		return v.Int()
	case reflect.Slice:
		list := make([]any, 0, v.Len())
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	default:
		return v.String()
	}
}

func printText(w io.Writer, cfg *Config, sources *Sources) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "KEY\tVALUE\tSOURCE")
	for _, e := range entries(schema, reflect.ValueOf(*cfg), "", sources) {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", e.Key, shown(e.Value), e.Source)
	}
	return tw.Flush()
}

// shown writes a value for a table: an empty text must not look like a missing column.
func shown(v any) string {
	switch x := v.(type) {
	case string:
		if x == "" || strconv.Quote(x) != `"`+x+`"` {
			return strconv.Quote(x)
		}
		return x
	case []any:
		out := "["
		for i, item := range x {
			if i > 0 {
				out += ", "
			}
			out += shown(item)
		}
		return out + "]"
	default:
		return fmt.Sprint(x)
	}
}

// yamlNode builds the node file with the source behind each value.
func yamlNode(f *field, v reflect.Value, path string, sources *Sources) *yaml.Node {
	switch {
	case f.isSection():
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, c := range f.children {
			value := yamlNode(c, v.Field(c.index), join(path, c.key), sources)
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: c.key}, value)
		}
		return n
	case f.isList() && f.elem.isSection() && v.Len() > 0:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, yamlNode(f.elem, v.Index(i), fmt.Sprintf("%s[%d]", path, i), sources))
		}
		return n
	default:
		n := &yaml.Node{}
		if err := n.Encode(plain(v)); err != nil {
			// plain gives text, numbers, booleans and lists of them only.
			panic(fmt.Sprintf("config: print %s: %v", path, err))
		}
		if n.Kind == yaml.SequenceNode {
			n.Style = yaml.FlowStyle
		}
		n.LineComment = sources.Of(path).String()
		return n
	}
}
