output "cores" {
  description = "Core nodes by name: index, zone, subnet, address."
  value       = local.cores
}

output "subnets" {
  description = "A network for each zone in use."
  value       = local.subnets
}

output "replicants" {
  description = "Whether there are replicants."
  value       = local.replicants
}

output "ports" {
  description = "Ports of a node."
  value       = local.ports
}

output "secrets" {
  description = "Names of the secrets: a core node's, and the region's for its replicants."
  value       = local.secrets
}

output "secret" {
  description = "Content of each secret by name: for attributes that are only written."
  value       = local.secret
  sensitive   = true
  precondition {
    condition     = alltrue([for text in local.secret : length(text) <= var.limit])
    error_message = "files: a node's files are more than the ${var.limit} bytes that the cloud's store takes; shorten users or acl."
  }
}

output "versions" {
  description = "Number of each secret's content by name."
  value       = local.versions
}

output "boot" {
  description = "User data of each node by the name of its secret."
  value       = local.boot
}
