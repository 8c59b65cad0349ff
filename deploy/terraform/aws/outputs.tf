output "link" {
  description = "What a peer's module wants to know of this region: peers = { (module.eu.link.name) = { dial = module.eu.link.dial } }."
  value = {
    name = var.name
    dial = flatten([for e in aws_eip.link : ["udp://${e.public_ip}:${local.ports.link.udp}", "tcp://${e.public_ip}:${local.ports.link.tcp}"]])
    # Addresses that this region's own dialling comes from: for link_sources over there.
    sources = [for e in concat(values(aws_eip.link), aws_eip.nat) : "${e.public_ip}/32"]
  }
}

output "devices" {
  description = "Where devices connect. A dns module makes a name of it."
  value       = local.serves ? { addresses = local.public ? [for e in aws_eip.devices : e.public_ip] : [for n in local.cores : cidrhost(n.subnet, 20)], port = local.ports.devices } : null
}

output "nodes" {
  description = "Core nodes by name: their private address, and the address in the state of their machine, for scripts/replace-node."
  value       = { for name, n in local.cores : name => { address = n.address, resource = "aws_instance.core[\"${name}\"]" } }
}

output "backup" {
  description = "The bucket for backups, if one was asked for."
  value       = one([for b in aws_s3_bucket.backup : b.bucket])
}

output "identities" {
  description = "Who the nodes are to the cloud, for rights of your own: role names, service accounts, principals."
  value       = [for r in aws_iam_role.node : r.name]
}
