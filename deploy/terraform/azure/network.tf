resource "azurerm_resource_group" "region" {
  name     = local.name
  location = var.location
  tags     = local.tags
}

resource "azurerm_virtual_network" "region" {
  name                = local.name
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  address_space       = [var.cidr]
  tags                = local.tags
}

resource "azurerm_subnet" "nodes" {
  name                            = "nodes"
  resource_group_name             = azurerm_resource_group.region.name
  virtual_network_name            = azurerm_virtual_network.region.name
  address_prefixes                = [var.cidr]
  default_outbound_access_enabled = false
}

# Stable addresses that peers dial: the core that leads the home runs the links, and each may lead.
resource "azurerm_public_ip" "link" {
  for_each            = local.public ? local.cores : {}
  name                = "${each.key}-link"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  sku                 = "Standard"
  allocation_method   = "Static"
  zones               = [each.value.zone]
  tags                = local.tags
}

# A private region goes out through NAT, and so do replicants, which have no address of their own. Azure forgets UDP after 4
# minutes; links speak more often.
resource "azurerm_public_ip" "nat" {
  name                = "${local.name}-nat"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  sku                 = "Standard"
  allocation_method   = "Static"
  tags                = local.tags
}

resource "azurerm_nat_gateway" "out" {
  name                = local.name
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  sku_name            = "Standard"
  tags                = local.tags
}

resource "azurerm_nat_gateway_public_ip_association" "out" {
  nat_gateway_id       = azurerm_nat_gateway.out.id
  public_ip_address_id = azurerm_public_ip.nat.id
}

resource "azurerm_subnet_nat_gateway_association" "out" {
  subnet_id      = azurerm_subnet.nodes.id
  nat_gateway_id = azurerm_nat_gateway.out.id
}

locals {
  # What may come in; everything else is refused.
  open = merge(
    local.serves ? {
      devices = { protocol = "Tcp", ports = [local.ports.devices], sources = var.devices.sources }
      health  = { protocol = "Tcp", ports = [local.ports.health], sources = ["AzureLoadBalancer"] }
      streams = { protocol = "Tcp", ports = [local.ports.streams, local.ports.gossip], sources = [var.cidr] }
      gossip  = { protocol = "Udp", ports = [local.ports.gossip], sources = [var.cidr] }
    } : {},
    local.public ? {
      links_udp = { protocol = "Udp", ports = [local.ports.link.udp], sources = var.link_sources }
      links_tcp = { protocol = "Tcp", ports = [local.ports.link.tcp], sources = var.link_sources }
  } : {})
}

resource "azurerm_network_security_group" "nodes" {
  name                = local.name
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
}

resource "azurerm_network_security_rule" "open" {
  for_each                    = local.open
  name                        = each.key
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.nodes.name
  priority                    = 100 + 10 * index(keys(local.open), each.key)
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = each.value.protocol
  source_port_range           = "*"
  source_address_prefix       = length(each.value.sources) == 1 ? each.value.sources[0] : null
  source_address_prefixes     = length(each.value.sources) == 1 ? null : each.value.sources
  destination_port_ranges     = [for p in each.value.ports : tostring(p)]
  destination_address_prefix  = "*"
}

# Azure's own rules would let the whole virtual network in.
resource "azurerm_network_security_rule" "closed" {
  name                        = "closed"
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.nodes.name
  priority                    = 4096
  direction                   = "Inbound"
  access                      = "Deny"
  protocol                    = "*"
  source_port_range           = "*"
  source_address_prefix       = "*"
  destination_port_range      = "*"
  destination_address_prefix  = "*"
}

resource "azurerm_subnet_network_security_group_association" "nodes" {
  subnet_id                 = azurerm_subnet.nodes.id
  network_security_group_id = azurerm_network_security_group.nodes.id
}
