package config

import (
	"reflect"
	"strings"
	"time"
)

// The schema is Config itself, read once by reflection: a key exists because a field has its tag.
// Nothing else lists the keys, so nothing can disagree with the struct.

// field is one key: a section with children, a list, or a single value.
type field struct {
	key      string // the last part of the path
	typ      reflect.Type
	index    int      // in the struct that holds it
	children []*field // of a section
	elem     *field   // of a list
}

var schema = section("", reflect.TypeFor[Config]())

func section(key string, t reflect.Type) *field {
	f := &field{key: key, typ: t}
	for i := range t.NumField() {
		child := newField(t.Field(i).Tag.Get("mapstructure"), t.Field(i).Type)
		child.index = i
		f.children = append(f.children, child)
	}
	return f
}

func newField(key string, t reflect.Type) *field {
	switch t.Kind() {
	case reflect.Struct:
		return section(key, t)
	case reflect.Slice:
		return &field{key: key, typ: t, elem: newField("", t.Elem())}
	default:
		return &field{key: key, typ: t}
	}
}

func (f *field) isSection() bool { return len(f.children) > 0 }
func (f *field) isList() bool    { return f.elem != nil }

func (f *field) child(key string) *field {
	for _, c := range f.children {
		if c.key == key {
			return c
		}
	}
	return nil
}

// at says whether there is a key of that path; items of lists are passed over.
func (f *field) at(path string) bool {
	for _, part := range strings.Split(path, ".") {
		name, _, _ := strings.Cut(part, "[")
		if f.isList() {
			f = f.elem
		}
		if f = f.child(name); f == nil {
			return false
		}
	}
	return true
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// eachKey calls do for every key of the schema that is no section, with lists as one key.
func eachKey(f *field, path string, do func(path string, f *field)) {
	for _, c := range f.children {
		if c.isSection() {
			eachKey(c, join(path, c.key), do)
		} else {
			do(join(path, c.key), c)
		}
	}
}

// allKeys lists every key with list items written as listeners[].name.
func allKeys(f *field, path string) []string {
	var keys []string
	for _, c := range f.children {
		p := join(path, c.key)
		switch {
		case c.isSection():
			keys = append(keys, allKeys(c, p)...)
		case c.isList() && c.elem.isSection():
			keys = append(append(keys, p), allKeys(c.elem, p+"[]")...)
		default:
			keys = append(keys, p)
		}
	}
	return keys
}

// form says what a value of the type looks like, for errors.
func form(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration such as 10s, 15m, 1h30m or 14d"
	case reflect.TypeFor[ByteSize]():
		return "a size such as 512KiB, 2MiB or 1GB"
	case reflect.TypeFor[Bandwidth]():
		return "a bandwidth such as 200Mbit/s or 25MB/s"
	case reflect.TypeFor[Portion]():
		return "a part of the disk such as 20%, or a size such as 10GiB"
	case reflect.TypeFor[Rate]():
		return "a rate such as 3000/s"
	case reflect.TypeFor[SecretRef]():
		return "file:PATH, the file that holds the secret"
	case reflect.TypeFor[Listener]():
		return "a mapping with type and listen, or TYPE://HOST:PORT"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "a mapping of keys to values"
	default:
		return "a single text"
	}
}

// nearest finds what an unknown key was probably meant to be: exactly this key in another section,
// one like it in the same section, or one like it in another. "" when nothing is near.
func nearest(root, f *field, path, key string) string {
	best, bestDistance := "", len(key)/3+2
	consider := func(candidate, full string) {
		if d := distance(key, candidate); d < bestDistance {
			best, bestDistance = full, d
		}
	}
	all := allKeys(root, "")
	for _, full := range all {
		if lastPart(full) == key {
			return full
		}
	}
	for _, c := range f.children {
		consider(c.key, join(path, c.key))
	}
	if best != "" {
		return best
	}
	for _, full := range all {
		consider(lastPart(full), full)
	}
	return best
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is how many letters must be inserted, deleted, replaced or swapped with their neighbour
// to turn a into b (optimal string alignment).
func distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
