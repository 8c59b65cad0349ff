# The core rules alone: those of the clouds are plugins, which check values that our schemas do not know.
config {
  call_module_type = "none"
}
plugin "terraform" {
  enabled = true
  preset  = "recommended"
}
