package main

// Provider is what one provider offers.
type Provider struct {
	Config    Block
	Resources map[string]Block
	Data      map[string]Block
}

// Block has attributes and nested blocks by name.
type Block struct {
	Attributes map[string]Attribute
	Blocks     map[string]Nested
}

// Attribute is one value of a block.
type Attribute struct {
	Type                                    Type
	Required, Optional, Computed, WriteOnly bool
}

// Nesting is how often and how a nested block stands in its parent.
type Nesting string

// The nestings.
const (
	NestingSingle Nesting = "single"
	NestingList   Nesting = "list"
	NestingSet    Nesting = "set"
	NestingMap    Nesting = "map"
)

// Nested is a block in a block. Min and Max bound how many there are; Max 0 is no bound.
type Nested struct {
	Nesting  Nesting
	Min, Max int64
	Block    Block
}

// Type is the type of a value: a word (string, number, bool, dynamic), a collection of Element, or an object of Fields.
type Type struct {
	Name    string // string, number, bool, dynamic, list, set, map, object
	Element *Type
	Fields  map[string]Type
}
