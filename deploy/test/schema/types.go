package main

import (
	"fmt"
	"strings"
)

// words are the types of the generated code that hold no others, with ours.
var words = map[string]string{"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}

// typeOf is the type of an attribute: from the HCL side if it can be set, otherwise from what reads it.
func (f *file) typeOf(m member, e entry, settable bool) (Type, error) {
	made := madeOf.FindStringSubmatch(m.text)
	if made != nil && !strings.HasPrefix(made[1], "cdktf.") {
		return f.objects(m, e, made)
	}
	if settable {
		return fromStorage(e)
	}
	if made != nil { // cdktf.StringMap and the like
		return collection("map", strings.TrimSuffix(strings.TrimPrefix(made[1], "cdktf."), "Map"))
	}
	g := getterLine.FindStringSubmatch(m.text)
	if g == nil {
		return Type{}, fmt.Errorf("nothing is known to read its type from in %q", m.text)
	}
	return fromGetter(g[1], strings.Contains(m.text, "Fn.tolist"))
}

// objects is the type of a computed list, set or map of objects, or of one object.
func (f *file) objects(m member, e entry, made []string) (Type, error) {
	class, one := f.classOf(m, e)
	object := Type{Name: "object", Fields: map[string]Type{}}
	owner := ownerOf(class)
	for _, field := range f.members[class] {
		fe, settable := f.entries[owner][field.name]
		t, err := f.typeOf(field, fe, settable)
		if err != nil {
			return Type{}, err
		}
		object.Fields[field.name] = t
	}
	switch {
	case strings.HasSuffix(made[1], "Map"):
		return Type{Name: "map", Element: &object}, nil
	case e.kind == "set" || made[2] == "true":
		return Type{Name: "set", Element: &object}, nil
	case one && e.kind == "struct":
		return object, nil
	}
	return Type{Name: "list", Element: &object}, nil
}

// fromStorage is the type of what HCL may set: stringList of the kind set is set(string).
func fromStorage(e entry) (Type, error) {
	if e.kind == "simple" {
		return word(e.storage)
	}
	for _, suffix := range []string{"List", "Set", "Map"} {
		if element, ok := strings.CutSuffix(e.storage, suffix); ok {
			return collection(e.kind, element)
		}
	}
	return Type{}, fmt.Errorf("the kind %s of %s is not known", e.kind, e.storage)
}

// fromGetter is the type of what can only be read: getStringMapAttribute is map(string), getListAttribute list(string).
func fromGetter(getter string, set bool) (Type, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(getter, "get"), "Attribute")
	kind := "list"
	if set {
		kind = "set"
	}
	switch name {
	case "interpolationFor":
		return Type{Name: "dynamic"}, nil
	case "List":
		return collection(kind, "string")
	case "NumberList":
		return collection(kind, "number")
	}
	if element, ok := strings.CutSuffix(name, "Map"); ok {
		return collection("map", element)
	}
	return word(name)
}

// collection is a list, set or map of what element names, which may be a collection itself: stringList.
func collection(kind, element string) (Type, error) {
	if inner, ok := strings.CutSuffix(element, "List"); ok && inner != "" {
		t, err := collection("list", inner)
		return Type{Name: kind, Element: &t}, err
	}
	if inner, ok := strings.CutSuffix(element, "Map"); ok && inner != "" {
		t, err := collection("map", inner)
		return Type{Name: kind, Element: &t}, err
	}
	t, err := word(element)
	return Type{Name: kind, Element: &t}, err
}

func word(name string) (Type, error) {
	w, ok := words[strings.ToLower(name)]
	if !ok {
		return Type{}, fmt.Errorf("the type %q is not known", name)
	}
	return Type{Name: w}, nil
}
