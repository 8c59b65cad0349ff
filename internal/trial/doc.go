// Package trial runs linked regions as processes on this machine: a throw-away
// CA, a directory and a configuration file a node, start, kill, stop. `make up`
// and the end-to-end tests share it. It is no deployment tool.
package trial
