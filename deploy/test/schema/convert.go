package main

import (
	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func all(blocks map[string]Block) map[string]*tfprotov5.Schema {
	out := make(map[string]*tfprotov5.Schema, len(blocks))
	for name, b := range blocks {
		out[name] = whole(b)
	}
	return out
}

func whole(b Block) *tfprotov5.Schema { return &tfprotov5.Schema{Block: block(b)} }

func block(b Block) *tfprotov5.SchemaBlock {
	out := &tfprotov5.SchemaBlock{}
	for name, a := range b.Attributes {
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{Name: name, Type: typ(a.Type),
			Required: a.Required, Optional: a.Optional, Computed: a.Computed, WriteOnly: a.WriteOnly})
	}
	for name, n := range b.Blocks {
		out.BlockTypes = append(out.BlockTypes, &tfprotov5.SchemaNestedBlock{TypeName: name, Block: block(n.Block),
			Nesting: nestings[n.Nesting], MinItems: n.Min, MaxItems: n.Max})
	}
	return out
}

var nestings = map[Nesting]tfprotov5.SchemaNestedBlockNestingMode{
	NestingSingle: tfprotov5.SchemaNestedBlockNestingModeSingle,
	NestingList:   tfprotov5.SchemaNestedBlockNestingModeList,
	NestingSet:    tfprotov5.SchemaNestedBlockNestingModeSet,
	NestingMap:    tfprotov5.SchemaNestedBlockNestingModeMap,
}

func typ(t Type) tftypes.Type {
	switch t.Name {
	case "string":
		return tftypes.String
	case "number":
		return tftypes.Number
	case "bool":
		return tftypes.Bool
	case "list":
		return tftypes.List{ElementType: typ(*t.Element)}
	case "set":
		return tftypes.Set{ElementType: typ(*t.Element)}
	case "map":
		return tftypes.Map{ElementType: typ(*t.Element)}
	case "object":
		fields := make(map[string]tftypes.Type, len(t.Fields))
		for name, f := range t.Fields {
			fields[name] = typ(f)
		}
		return tftypes.Object{AttributeTypes: fields}
	}
	return tftypes.DynamicPseudoType
}
