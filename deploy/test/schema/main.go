// Command schema is a Terraform provider that has a schema and nothing else: terraform validates our modules and runs their
// tests with mocks by it. The schemas (attributes, types, blocks, and what is required, optional and computed) come out of the
// npm packages @cdktf/provider-aws, -google and -azurerm: the TypeScript that was generated from them stands complete in the
// source map at the end of each index.js. The tests write the schema of what a module uses beside a copy of the binary:
//
//	schema extract ARCHIVE PROVIDER TYPE… > schema.json
//
// What it is not: a provider. It creates nothing, and it knows no values: a machine type that does not exist, or two
// attributes that exclude each other, pass. Nothing of what it reads is committed. It is a module of its own so that the
// libraries of the plugin protocol are none of the product's.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
)

func main() {
	err := errors.New("usage: schema extract ARCHIVE PROVIDER TYPE…; terraform starts it without arguments")
	switch {
	case len(os.Args) == 1:
		err = serve()
	case len(os.Args) > 4 && os.Args[1] == "extract":
		err = extract(os.Args[2], os.Args[3], os.Args[4:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "schema-only provider:", err)
		os.Exit(1)
	}
}

// serve answers terraform, which started this binary by the path at which it is installed, until it hangs up.
func serve() error {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(os.Args[0]), "schema.json"))
	if err != nil {
		return err
	}
	p := new(Provider)
	if err := json.Unmarshal(text, p); err != nil {
		return err
	}
	return tf5server.Serve("registry.terraform.io/hashicorp/schema-only", func() tfprotov5.ProviderServer { return &server{schema: p} })
}

func extract(archive, provider string, types []string) error {
	p, err := Load(archive, provider, types)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}
