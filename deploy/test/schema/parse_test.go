package main

import (
	"reflect"
	"testing"
)

// sample has one of each form that the generated code takes.
const sample = `
export interface ThingDisk { readonly size: number; }
export function thingDiskToHclTerraform(struct?: ThingDisk | cdktf.IResolvable): any {
  const attrs = {
    size: {
      value: cdktf.numberToHclTerraform(struct!.size),
      isBlock: false,
      type: "simple",
      storageClassType: "number",
    },
  };
}
export class ThingDiskOutputReference extends cdktf.ComplexObject {
  // size - computed: false, optional: false, required: true
  private _size?: number; 
  public get size() {
    return this.getNumberAttribute('size');
  }

  // serial - computed: true, optional: false, required: false
  public get serial() {
    return this.getStringAttribute('serial');
  }
}
export class ThingDiskList extends cdktf.ComplexList {
}
export class ThingStateOutputReference extends cdktf.ComplexObject {
  // up - computed: true, optional: false, required: false
  public get up() {
    return this.getBooleanAttribute('up');
  }
}
export function thingTimeoutsToHclTerraform(struct?: ThingTimeouts | cdktf.IResolvable): any {
  const attrs = {
    create: {
      value: cdktf.stringToHclTerraform(struct!.create),
      isBlock: false,
      type: "simple",
      storageClassType: "string",
    },
  };
}
export class ThingTimeoutsOutputReference extends cdktf.ComplexObject {
  // create - computed: false, optional: true, required: false
  private _create?: string; 
}
export class Thing extends cdktf.TerraformResource {
  // secret_wo - computed: false, optional: true, required: false
  private _secretWo?: string; 

  // zones - computed: true, optional: true, required: false
  private _zones?: string[]; 

  // tags_seen - computed: true, optional: false, required: false
  private _tagsSeen = new cdktf.StringMap(this, "tags_seen");

  // state - computed: true, optional: false, required: false
  private _state = new ThingStateList(this, "state", false);

  // boot_disk - computed: false, optional: false, required: true
  private _bootDisk = new ThingDiskOutputReference(this, "boot_disk");

  // disk - computed: false, optional: true, required: false
  private _disk = new ThingDiskList(this, "disk", true);

  // timeouts - computed: false, optional: true, required: false
  private _timeouts = new ThingTimeoutsOutputReference(this, "timeouts");

  protected synthesizeHclAttributes(): { [name: string]: any } {
    const attrs = {
      secret_wo: {
        value: cdktf.stringToHclTerraform(this._secretWo),
        isBlock: false,
        type: "simple",
        storageClassType: "string",
      },
      zones: {
        value: cdktf.listMapperHcl(cdktf.stringToHclTerraform, false)(this._zones),
        isBlock: false,
        type: "set",
        storageClassType: "stringList",
      },
      boot_disk: {
        value: thingDiskToHclTerraform(this._bootDisk.internalValue),
        isBlock: true,
        type: "list",
        storageClassType: "ThingDiskList",
      },
      disk: {
        value: cdktf.listMapperHcl(thingDiskToHclTerraform, true)(this._disk.internalValue),
        isBlock: true,
        type: "set",
        storageClassType: "ThingDiskList",
      },
      timeouts: {
        value: thingTimeoutsToHclTerraform(this._timeouts.internalValue),
        isBlock: true,
        type: "struct",
        storageClassType: "ThingTimeouts",
      },
    };
  }
}
`

func TestParse(t *testing.T) {
	got, err := parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	text, number := Type{Name: "string"}, Type{Name: "number"}
	disk := Block{Blocks: map[string]Nested{}, Attributes: map[string]Attribute{
		"size": {Type: number, Required: true}, "serial": {Type: text, Computed: true}}}
	state := Type{Name: "object", Fields: map[string]Type{"up": {Name: "bool"}}}
	want := Block{
		Attributes: map[string]Attribute{
			"secret_wo": {Type: text, Optional: true, WriteOnly: true},
			"zones":     {Type: Type{Name: "set", Element: &text}, Optional: true, Computed: true},
			"tags_seen": {Type: Type{Name: "map", Element: &text}, Computed: true},
			"state":     {Type: Type{Name: "list", Element: &state}, Computed: true},
		},
		Blocks: map[string]Nested{
			"boot_disk": {Nesting: NestingList, Min: 1, Max: 1, Block: disk},
			"disk":      {Nesting: NestingSet, Block: disk},
			"timeouts": {Nesting: NestingSingle, Block: Block{Blocks: map[string]Nested{}, Attributes: map[string]Attribute{
				"create": {Type: text, Optional: true}}}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParse_SaysWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		"export const x = 1\n",
		"export class Thing extends cdktf.TerraformResource {\n  // a - computed: true, optional: false, required: false\n  public get a() {\n  }\n}\n",
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("no complaint of %q", text)
		}
	}
}

func TestFolderOf(t *testing.T) {
	for name, want := range map[string]string{"aws_lb_listener": "lb-listener", "data.aws_ami": "data-aws-ami"} {
		if got := folderOf(name, "aws"); got != want {
			t.Errorf("%s lies in %s, want %s", name, got, want)
		}
	}
}
