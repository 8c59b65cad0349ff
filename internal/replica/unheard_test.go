package replica

import (
	"testing"
	"time"
)

// A copy is killed while it catches up, and its last acknowledgements are lost: it holds more than
// the leader knows, and has cut its own log behind that. It comes back all the same.
func TestRegion_CopyIsFurtherThanKnown(t *testing.T) {
	underLoad(t, 3*time.Millisecond, small, func(rg *region) {
		was := rg.leader()
		for range 3 {
			rg.failHandOver(was, 1, func(heir *node) { rg.net.Kill(heir.name); time.Sleep(300 * ms) })
		}
	})
}
