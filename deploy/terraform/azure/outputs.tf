output "link" {
  description = "What a peer's module wants to know of this region: peers = { (module.eu.link.name) = { dial = module.eu.link.dial } }."
  value = {
    name = var.name
    dial = flatten([for a in azurerm_public_ip.link : ["udp://${a.ip_address}:${local.ports.link.udp}", "tcp://${a.ip_address}:${local.ports.link.tcp}"]])
    # Addresses that this region's own dialling comes from: for link_sources over there.
    sources = [for a in concat(values(azurerm_public_ip.link), [azurerm_public_ip.nat]) : "${a.ip_address}/32"]
  }
}

output "devices" {
  description = "Where devices connect. A dns module makes a name of it."
  value       = local.serves ? { addresses = [local.front], port = local.ports.devices } : null
}

output "nodes" {
  description = "Core nodes by name: their private address, and the address in the state of their machine, for scripts/replace-node."
  value       = { for name, n in local.cores : name => { address = n.address, resource = "azurerm_linux_virtual_machine.core[\"${name}\"]" } }
}

output "backup" {
  description = "The bucket for backups, if one was asked for."
  value       = one([for a in azurerm_storage_container.backup : a.id])
}

output "identities" {
  description = "Who the nodes are to the cloud, for rights of your own: role names, service accounts, principals."
  value       = [for i in azurerm_user_assigned_identity.node : i.principal_id]
}
