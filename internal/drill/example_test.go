package drill

import (
	"os"
	"testing"
)

// The plan that operators start from is one.
func TestParse_Example(t *testing.T) {
	const file = "../../deploy/drills/quarterly.yaml"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(file, b)
	if err != nil {
		t.Fatal(err)
	}
	if d := Compile(p); len(d.Phases) < 6 {
		t.Errorf("%d phases", len(d.Phases))
	}
}
