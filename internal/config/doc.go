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
// Objects are the sections that may be configured for a whole region instead. They are read and
// judged here like the node file; where they are kept is the app's business.
package config
