// Package terraform tests the modules in deploy/terraform with terraform itself: form, names, types, and what the modules make of
// their variables. The clouds' providers are stood in for by one that has their schemas and nothing else (../schema). `make
// deploy` runs it; nothing imports it.
package terraform
