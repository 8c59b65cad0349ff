package config

import "fmt"

// maxResidency bounds the rules, which each message is held against.
const maxResidency = 256

func (v *validator) residency(c *Config) {
	v.check(len(c.Residency) <= maxResidency, "residency", fmt.Sprintf("has %d rules, at most %d are allowed", len(c.Residency), maxResidency),
		"name wider filters")
	for i, r := range c.Residency {
		key := fmt.Sprintf("residency[%d].", i)
		if r.Namespace != "" {
			v.name(key+"namespace", r.Namespace)
		}
		v.filter(key+"filter", r.Filter)
		v.check(len(r.Regions) > 0, key+"regions", "is empty, so that no region could store what matches", "name the regions that may, this one among them if it may")
		for j, name := range r.Regions {
			v.name(fmt.Sprintf("%sregions[%d]", key, j), name)
		}
	}
}
