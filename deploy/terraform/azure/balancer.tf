resource "azurerm_public_ip" "devices" {
  count               = local.serves && local.public ? 1 : 0
  name                = "${local.name}-devices"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  sku                 = "Standard"
  allocation_method   = "Static"
  zones               = var.zones
  tags                = local.tags
}

resource "azurerm_lb" "devices" {
  count               = local.serves ? 1 : 0
  name                = local.name
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  sku                 = "Standard"
  tags                = local.tags
  frontend_ip_configuration {
    name                          = "devices"
    public_ip_address_id          = local.public ? azurerm_public_ip.devices[0].id : null
    subnet_id                     = local.public ? null : azurerm_subnet.nodes.id
    private_ip_address_allocation = local.public ? null : "Static"
    private_ip_address            = local.public ? null : local.inner
    zones                         = local.public ? null : var.zones
  }
}

locals {
  inner = cidrhost(var.cidr, 20)
  front = local.public ? one([for a in azurerm_public_ip.devices : a.ip_address]) : local.inner
}

resource "azurerm_lb_backend_address_pool" "devices" {
  count           = local.serves ? 1 : 0
  name            = "nodes"
  loadbalancer_id = azurerm_lb.devices[0].id
}

resource "azurerm_network_interface_backend_address_pool_association" "core" {
  for_each                = local.serves ? local.cores : {}
  network_interface_id    = azurerm_network_interface.core[each.key].id
  ip_configuration_name   = "node"
  backend_address_pool_id = azurerm_lb_backend_address_pool.devices[0].id
}

resource "azurerm_lb_probe" "ready" {
  count               = local.serves ? 1 : 0
  name                = "ready"
  loadbalancer_id     = azurerm_lb.devices[0].id
  protocol            = "Http"
  port                = local.ports.health
  request_path        = "/readyz"
  interval_in_seconds = 5
  number_of_probes    = 1
  probe_threshold     = 2
}

resource "azurerm_lb_rule" "devices" {
  count                          = local.serves ? 1 : 0
  name                           = "devices"
  loadbalancer_id                = azurerm_lb.devices[0].id
  frontend_ip_configuration_name = "devices"
  protocol                       = "Tcp"
  frontend_port                  = local.ports.devices
  backend_port                   = local.ports.devices
  backend_address_pool_ids       = [azurerm_lb_backend_address_pool.devices[0].id]
  probe_id                       = azurerm_lb_probe.ready[0].id
  disable_outbound_snat          = true
  # Azure forgets a connection that is idle for longer, and tells both ends.
  idle_timeout_in_minutes = 30
  tcp_reset_enabled       = true
}
