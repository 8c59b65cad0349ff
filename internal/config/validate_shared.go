package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxSharedRegions bounds the regions of one group, and maxShared the declarations.
const (
	maxSharedRegions = 64
	maxShared        = 1000
)

// shared checks the declarations of global groups.
func (v *validator) shared(c *Config) {
	v.check(len(c.Shared) <= maxShared, "shared", fmt.Sprintf("%d groups", len(c.Shared)), fmt.Sprintf("want at most %d", maxShared))
	for i, g := range c.Shared {
		key := fmt.Sprintf("shared[%d].", i)
		v.name(key+"namespace", g.Namespace)
		v.check(g.Group != "" && !strings.ContainsAny(g.Group, "/#+\x00"), key+"group", fmt.Sprintf("%q is no group", g.Group),
			"want what stands between $share/ and the filter, such as workers")
		v.sharedRegions(key+"regions", g.Regions, c)
	}
	v.unique("shared", "group", len(c.Shared), func(i int) string { return c.Shared[i].Namespace + "/" + c.Shared[i].Group })
}

func (v *validator) sharedRegions(key string, regions []string, c *Config) {
	v.check(len(regions) >= 2 && len(regions) <= maxSharedRegions, key, fmt.Sprintf("lists %d regions", len(regions)),
		fmt.Sprintf("want 2 to %d; a group that is not listed is local to each region", maxSharedRegions))
	ours := slices.Contains(regions, c.Region)
	for i, r := range regions {
		at := fmt.Sprintf("%s[%d]", key, i)
		v.name(at, r)
		v.check(!slices.Contains(regions[:i], r), at, fmt.Sprintf("%q is listed twice", r), "keep one of them")
		linked := slices.ContainsFunc(c.Links, func(l Link) bool { return l.Peer == r })
		v.check(!ours || linked || r == c.Region, at, fmt.Sprintf("there is no link from %s to %q", c.Region, r),
			"add the link: messages of the group go from any of its regions to any other")
	}
}
