package config

import (
	"strings"
	"testing"
)

func TestShared(t *testing.T) {
	const head = "region: eu\nidentity: { cert: a, key: b, ca: c }\nlinks: [{ peer: us }, { peer: ap }]\n"
	for name, tc := range map[string]struct{ text, want string }{
		"two regions":          {"shared: [{ group: workers, regions: [us, eu] }]", ""},
		"another region's":     {"shared: [{ group: workers, regions: [br, cl] }]", ""},
		"the same name twice":  {"shared: [{ group: g, regions: [us, eu] }, { group: g, regions: [ap, eu] }]", "shared[1].group"},
		"in two namespaces":    {"shared: [{ group: g, regions: [us, eu] }, { namespace: cars, group: g, regions: [ap, eu] }]", ""},
		"one region":           {"shared: [{ group: workers, regions: [eu] }]", "shared[0].regions: lists 1 regions; want 2 to 64"},
		"a region twice":       {"shared: [{ group: workers, regions: [eu, eu] }]", `shared[0].regions[1]: "eu" is listed twice`},
		"a region not linked":  {"shared: [{ group: workers, regions: [eu, cn] }]", `shared[0].regions[1]: there is no link from eu to "cn"`},
		"a filter for a group": {"shared: [{ group: \"workers/#\", regions: [eu, us] }]", "shared[0].group"},
		"no group":             {"shared: [{ regions: [eu, us] }]", "shared[0].group"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := mustLoad(t, Options{File: writeFile(t, head+tc.text)})
			err := cfg.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	cfg, _ := mustLoad(t, Options{File: writeFile(t, head+"shared: [{ group: workers, regions: [us, eu] }]")})
	if cfg.Shared[0].Namespace != "default" {
		t.Errorf("namespace %q", cfg.Shared[0].Namespace)
	}
}
