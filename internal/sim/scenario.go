package sim

import "fmt"

// say tells a scenario what happened.
func (w *World) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// saw tells a scenario what a device got.
func (w *World) saw(d *device, c *conn, p packet) {}
