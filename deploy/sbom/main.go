// Command sbom writes what a Go binary was built from as an SPDX 2.3 document: the modules that the linker recorded in it,
// with their hashes, and the compiler. It reads the binary, not go.mod: what is not linked is not listed.
//
//	go run ./deploy/sbom bin/causeway > causeway.spdx.json
//
// What it is not: a list of licences or of known faults; scanners make those from it.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom BINARY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// run writes the document of the binary to out.
func run(binary string, out io.Writer) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	sum, err := sha256File(binary)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(describe(info, sum))
}
