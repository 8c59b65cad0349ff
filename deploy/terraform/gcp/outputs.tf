output "link" {
  description = "What a peer's module wants to know of this region: peers = { (module.eu.link.name) = { dial = module.eu.link.dial } }."
  value = {
    name = var.name
    dial = flatten([for a in google_compute_address.link : ["udp://${a.address}:${local.ports.link.udp}", "tcp://${a.address}:${local.ports.link.tcp}"]])
    # Addresses that this region's own dialling comes from: for link_sources over there.
    sources = [for a in concat(values(google_compute_address.link), [google_compute_address.nat]) : "${a.address}/32"]
  }
}

output "devices" {
  description = "Where devices connect. A dns module makes a name of it."
  value       = local.serves ? { addresses = [google_compute_address.devices[0].address], port = local.ports.devices } : null
}

output "nodes" {
  description = "Core nodes by name: their private address, and the address in the state of their machine, for scripts/replace-node."
  value       = { for name, n in local.cores : name => { address = n.address, resource = "google_compute_instance.core[\"${name}\"]" } }
}

output "backup" {
  description = "The bucket for backups, if one was asked for."
  value       = one([for b in google_storage_bucket.backup : b.name])
}

output "identities" {
  description = "Who the nodes are to the cloud, for rights of your own: role names, service accounts, principals."
  value       = [for a in google_service_account.node : a.email]
}
