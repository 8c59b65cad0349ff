package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The generated TypeScript says everything three times; these are the places that are read. Each class (the resource, and an
// OutputReference for each nested block) has its members with a comment of their rules:
//
//	// cpu_credits - computed: false, optional: true, required: false
//	private _cpuCredits?: string;
//
// and a function or method beside it tells blocks from attributes and lists from sets:
//
//	cpu_credits: { value: …, isBlock: false, type: "simple", storageClassType: "string" },
var (
	classLine  = regexp.MustCompile(`(?m)^export class (\w+) extends cdktf\.(\w+) `)
	memberLine = regexp.MustCompile(`(?m)^  // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n((?:.+\n)+)`)
	hclHead    = regexp.MustCompile(`(?m)^(?:export function (\w+)ToHclTerraform\(|  protected synthesizeHclAttributes\()`)
	hclEntry   = regexp.MustCompile(`(?m)^ +(\w+): \{\n +value: [^\n]*\n +isBlock: (true|false),\n +type: "(\w+)",\n +storageClassType: "(\w+)",`)
	madeOf     = regexp.MustCompile(`new ([\w.]+)\(this, "\w+"(?:, (true|false))?\)`)
	getterLine = regexp.MustCompile(`this\.(get\w+Attribute|interpolationForAttribute)\(`)
)

// member is one attribute or block of a class.
type member struct {
	name                         string
	computed, optional, required bool
	text                         string // what declares it
}

// entry is what the HCL side says of it.
type entry struct {
	block   bool
	kind    string // simple, list, set, map, struct
	storage string // string, stringList, LbListenerList, …
}

// file is one parsed text.
type file struct {
	members map[string][]member         // by class
	entries map[string]map[string]entry // by struct in lower case, "" for the resource
	top     string                      // the class of the resource
}

// parse reads a resource's block out of its TypeScript.
func parse(text string) (Block, error) {
	f := &file{members: map[string][]member{}, entries: map[string]map[string]entry{}}
	f.readClasses(text)
	f.readEntries(text)
	if f.top == "" {
		return Block{}, errors.New("no resource class: the package is of another make than this was written for")
	}
	return f.block(f.top, "")
}

func (f *file) readClasses(text string) {
	heads := classLine.FindAllStringSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		class, base := text[h[2]:h[3]], text[h[4]:h[5]]
		switch base {
		case "TerraformResource", "TerraformDataSource", "TerraformProvider":
			f.top = class
		}
		for _, m := range memberLine.FindAllStringSubmatch(text[h[0]:end], -1) {
			f.members[class] = append(f.members[class], member{m[1], m[2] == "true", m[3] == "true", m[4] == "true", m[5]})
		}
	}
}

func (f *file) readEntries(text string) {
	heads := hclHead.FindAllStringSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		owner := ""
		if h[2] >= 0 {
			owner = strings.ToLower(text[h[2]:h[3]])
		}
		if f.entries[owner] == nil {
			f.entries[owner] = map[string]entry{}
		}
		for _, m := range hclEntry.FindAllStringSubmatch(text[h[0]:end], -1) {
			f.entries[owner][m[1]] = entry{m[2] == "true", m[3], m[4]}
		}
	}
}

// block builds the block of a class; owner is its struct in lower case.
func (f *file) block(class, owner string) (Block, error) {
	b := Block{Attributes: map[string]Attribute{}, Blocks: map[string]Nested{}}
	for _, m := range f.members[class] {
		e, settable := f.entries[owner][m.name]
		if settable && e.block && !m.computed {
			nested, err := f.nested(m, e)
			if err != nil {
				return b, err
			}
			b.Blocks[m.name] = nested
			continue
		}
		typ, err := f.typeOf(m, e, settable)
		if err != nil {
			return b, fmt.Errorf("%s.%s: %w", class, m.name, err)
		}
		b.Attributes[m.name] = Attribute{Type: typ, Required: m.required, Optional: m.optional, Computed: m.computed,
			// The package does not tell what is written only; providers name such attributes so.
			WriteOnly: settable && strings.HasSuffix(m.name, "_wo")}
	}
	return b, nil
}

// nested builds a nested block. A member that holds one object is a list of at most one, unless it is a struct.
func (f *file) nested(m member, e entry) (Nested, error) {
	class, one := f.classOf(m, e)
	n := Nested{Nesting: Nesting(e.kind)}
	if e.kind == "struct" {
		n.Nesting = NestingSingle
	} else if one {
		n.Max = 1
	}
	if m.required {
		n.Min = 1
	}
	var err error
	n.Block, err = f.block(class, ownerOf(class))
	return n, err
}

// classOf is the class that describes the items of a member, and whether there is at most one of them.
func (f *file) classOf(m member, e entry) (class string, one bool) {
	name := strings.TrimSuffix(e.storage, "List")
	if made := madeOf.FindStringSubmatch(m.text); made != nil {
		name = made[1]
		for _, suffix := range []string{"OutputReference", "List", "Map"} {
			if base, ok := strings.CutSuffix(name, suffix); ok {
				return base + "OutputReference", suffix == "OutputReference"
			}
		}
	}
	return name + "OutputReference", false
}

func ownerOf(class string) string {
	return strings.ToLower(strings.TrimSuffix(class, "OutputReference"))
}
