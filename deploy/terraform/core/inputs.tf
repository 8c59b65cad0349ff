# What the module of a cloud tells core about itself, beside the variables of the region.

variable "store" {
  description = "Shell text that defines secret NAME: it prints the secret of that name from the cloud's store, with the machine's own rights."
  type        = string
}

variable "disks" {
  description = "Device path of each core node's data disk, in the order of the zones."
  type        = list(string)
}

variable "balancer" {
  description = "How the cloud's load balancer acts: whether it says in a PROXY header where devices are, and how long it takes to notice that a node stops."
  type        = object({ proxy = bool, notice = string })
}

variable "limit" {
  description = "How many bytes a secret of the store may have."
  type        = number
}

variable "place" {
  description = "URL of the bucket that nodes write backups to; null without one."
  type        = string
  default     = null
}
