variable "resource_group" {
  description = "Resource group of the zone."
  type        = string
}

locals {
  label     = trimsuffix(var.name, ".${var.zone}")
  addresses = { for pair in flatten([for name, r in var.regions : [for i, a in r.addresses : { key = "${name}-${i}", near = r.near, address = a }]]) : pair.key => pair }
}

resource "azurerm_traffic_manager_profile" "devices" {
  name                   = "causeway-${replace(var.name, ".", "-")}"
  resource_group_name    = var.resource_group
  traffic_routing_method = "Performance"
  dns_config {
    relative_name = "causeway-${replace(var.name, ".", "-")}"
    ttl           = var.ttl
  }
  monitor_config {
    protocol                     = "TCP"
    port                         = one(distinct([for r in var.regions : r.port]))
    interval_in_seconds          = 10
    timeout_in_seconds           = 5
    tolerated_number_of_failures = 1
  }
}

resource "azurerm_traffic_manager_external_endpoint" "address" {
  for_each          = local.addresses
  name              = each.key
  profile_id        = azurerm_traffic_manager_profile.devices.id
  target            = each.value.address
  endpoint_location = each.value.near
}

resource "azurerm_dns_cname_record" "devices" {
  name                = local.label
  zone_name           = var.zone
  resource_group_name = var.resource_group
  ttl                 = var.ttl
  record              = azurerm_traffic_manager_profile.devices.fqdn
}
