# A factory's node: a Debian machine of its own, no cloud. It renders the node file and what the hub is to be told; the machine
# gets the package, the file and its certificate as docs/runbooks/leaf.md says.

terraform {
  required_version = ">= 1.11"
}

variable "name" {
  description = "Name of the leaf's region, as in its certificate: plant-12."
  type        = string
}

variable "hub" {
  description = "The hub: the output link of its module."
  type        = object({ name = string, dial = list(string) })
  validation {
    condition     = length(var.hub.dial) > 0
    error_message = "hub.dial: a leaf dials, and a private region cannot be dialled."
  }
}

variable "listen" {
  description = "Address for the plant's devices: 10.12.0.5:1883."
  type        = string
}

variable "in" {
  description = "Filters of what the plant takes from the hub."
  type        = list(string)
}

variable "out" {
  description = "Filters of what may leave the plant."
  type        = list(string)
}

variable "spool" {
  description = "What is kept of what the hub wants while it cannot be reached."
  type        = object({ bytes = optional(string, "4GiB"), age = optional(string, "7d") })
  default     = {}
}

variable "settings" {
  description = "More of the node file, by its keys. It wins over what the module sets."
  type        = any
  default     = {}
}

locals {
  etc = "/etc/causeway"
}

output "file" {
  description = "/etc/causeway/causeway.yaml of the leaf."
  value = yamlencode(merge({
    region    = var.name
    leaf      = true
    data_dir  = "/var/lib/causeway"
    identity  = { cert = "${local.etc}/node.pem", key = "${local.etc}/node-key.pem", ca = "${local.etc}/ca.pem" }
    listeners = [{ name = "plant", type = "mqtt", listen = var.listen, auth = ["password"] }]
    auth      = { password_file = "${local.etc}/users" }
    metrics   = { listen = "127.0.0.1:9464" }
    links     = [{ peer = var.hub.name, dial = var.hub.dial, in = var.in, out = var.out, spool = var.spool }]
  }, var.settings))
}

output "peer" {
  description = "The hub's side: goes into peers of its module, under the leaf's name."
  value       = { in = var.out, out = var.in }
}
