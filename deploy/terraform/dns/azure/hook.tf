variable "endpoint" {
  description = "Azure's management."
  type        = string
  default     = "https://management.azure.com"
}

variable "login" {
  description = "Where an application gets its token."
  type        = string
  default     = "https://login.microsoftonline.com"
}

output "hook" {
  description = "The program for takeover.hooks.promote: the variable hook of the regions' modules."
  value = templatefile("${path.module}/hook.sh.tftpl", {
    endpoint  = var.endpoint
    login     = var.login
    endpoints = { for name, r in var.regions : name => [for i, a in r.addresses : azurerm_traffic_manager_external_endpoint.address["${name}-${i}"].id] }
  })
}

output "profile" {
  description = "What it needs the role Traffic Manager Contributor of: for the output identities of a region in Azure, or for the application of files/dns-login."
  value       = azurerm_traffic_manager_profile.devices.id
}
