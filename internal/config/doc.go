// Package config turns flags, environment, node file and defaults into one plain Config, and can
// say of every value where it came from.
//
// What wins: a flag, then a CAUSEWAY_ variable, then the YAML file, then the default. A key or
// variable that nobody knows is an error, because a setting that is silently ignored is found out
// in the worst night. Errors name the key, the place (file and line, variable or flag), the value
// and the form that would be accepted.
//
// What it is not: it opens nothing and looks at no file but the node file, so a certificate that
// is missing is found by whoever loads it. viper and the YAML library are used here and nowhere
// else; what leaves this package is Config, plain data that nobody changes.
//
// Region objects (versioned, shipped to the standby) are not here either: this is what is local
// to one node.
package config
