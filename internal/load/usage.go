package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what processes used: CPU time so far, and memory now.
type Usage struct {
	CPU time.Duration
	RSS int64 // bytes
}

// UsageOf reads what processes used. Linux only; elsewhere it is an error.
func UsageOf(pids ...int) (list []Usage, err error) {
	for _, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, nil
}

// tick is the kernel's unit of CPU time, which is the same on all that Linux
// runs on.
const tick = 10 * time.Millisecond

func usageOf(pid int) (Usage, error) {
	name := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(name)
	if err != nil {
		return Usage{}, err
	}
	// The second field is the program's name in brackets, which may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const user, system, rss = 11, 12, 21
	if len(fields) <= rss {
		return Usage{}, fmt.Errorf("%s has %d fields behind the name", name, len(fields))
	}
	var n [3]int64
	for i, f := range []int{user, system, rss} {
		if n[i], err = strconv.ParseInt(string(fields[f]), 10, 64); err != nil {
			return Usage{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return Usage{CPU: time.Duration(n[0]+n[1]) * tick, RSS: n[2] * int64(os.Getpagesize())}, nil
}
