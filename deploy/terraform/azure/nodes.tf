locals {
  image = var.image == null ? ["Debian", "debian-12", "12-gen2", "latest"] : split(":", var.image)
  admin = "operator"
}

resource "azurerm_network_interface" "core" {
  for_each            = local.cores
  name                = each.key
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
  ip_configuration {
    name                          = "node"
    subnet_id                     = azurerm_subnet.nodes.id
    private_ip_address_allocation = "Static"
    private_ip_address            = each.value.address
    public_ip_address_id          = local.public ? azurerm_public_ip.link[each.key].id : null
  }
}

# A disk is no part of its machine: it outlives it, and the node that comes back has what it had acknowledged. Azure encrypts
# all disks.
resource "azurerm_managed_disk" "data" {
  for_each                      = local.cores
  name                          = "${each.key}-data"
  location                      = var.location
  resource_group_name           = azurerm_resource_group.region.name
  zone                          = each.value.zone
  storage_account_type          = "PremiumV2_LRS"
  create_option                 = "Empty"
  disk_size_gb                  = var.cores.disk_gib
  network_access_policy         = "DenyAll"
  public_network_access_enabled = false
  tags                          = local.tags
  lifecycle { prevent_destroy = true }
}

resource "azurerm_virtual_machine_data_disk_attachment" "data" {
  for_each           = local.cores
  managed_disk_id    = azurerm_managed_disk.data[each.key].id
  virtual_machine_id = azurerm_linux_virtual_machine.core[each.key].id
  lun                = 0
  caching            = "None"
}

resource "azurerm_linux_virtual_machine" "core" {
  for_each                   = local.cores
  name                       = each.key
  location                   = var.location
  resource_group_name        = azurerm_resource_group.region.name
  zone                       = each.value.zone
  size                       = var.cores.machine
  network_interface_ids      = [azurerm_network_interface.core[each.key].id]
  admin_username             = local.admin
  custom_data                = base64encode(module.core.boot[each.key])
  secure_boot_enabled        = true
  vtpm_enabled               = true
  encryption_at_host_enabled = true
  tags                       = local.tags

  admin_ssh_key {
    username   = local.admin
    public_key = var.ssh_key
  }
  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "Premium_LRS"
  }
  source_image_reference {
    publisher = local.image[0]
    offer     = local.image[1]
    sku       = local.image[2]
    version   = local.image[3]
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.node[each.key].id]
  }
  # A newer image or boot script replaces no machine by itself: three would go at once. scripts/replace-node does it, one
  # at a time.
  lifecycle {
    ignore_changes = [source_image_reference, custom_data]
    precondition {
      condition     = var.ssh_key != null
      error_message = "ssh_key: Azure makes no machine without one. Nothing lets SSH in."
    }
  }
  depends_on = [azurerm_role_assignment.reader, azurerm_subnet_nat_gateway_association.out, azurerm_nat_gateway_public_ip_association.out]
}

resource "azurerm_linux_virtual_machine_scale_set" "replicants" {
  count                      = module.core.replicants ? 1 : 0
  name                       = "${local.name}-r"
  location                   = var.location
  resource_group_name        = azurerm_resource_group.region.name
  zones                      = var.zones
  sku                        = var.replicants.machine
  instances                  = var.replicants.min
  admin_username             = local.admin
  custom_data                = base64encode(module.core.boot[var.name])
  secure_boot_enabled        = true
  vtpm_enabled               = true
  encryption_at_host_enabled = true
  tags                       = local.tags

  admin_ssh_key {
    username   = local.admin
    public_key = var.ssh_key
  }
  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "Standard_LRS"
  }
  source_image_reference {
    publisher = local.image[0]
    offer     = local.image[1]
    sku       = local.image[2]
    version   = local.image[3]
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.node[var.name].id]
  }
  network_interface {
    name    = "node"
    primary = true
    ip_configuration {
      name                                   = "node"
      primary                                = true
      subnet_id                              = azurerm_subnet.nodes.id
      load_balancer_backend_address_pool_ids = [azurerm_lb_backend_address_pool.devices[0].id]
    }
  }
  lifecycle { ignore_changes = [instances] } # the autoscaler's
}

resource "azurerm_monitor_autoscale_setting" "replicants" {
  count               = module.core.replicants ? 1 : 0
  name                = "${local.name}-r"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  target_resource_id  = azurerm_linux_virtual_machine_scale_set.replicants[0].id
  tags                = local.tags
  profile {
    name = "cpu"
    capacity {
      default = var.replicants.min
      minimum = var.replicants.min
      maximum = var.replicants.max
    }
    dynamic "rule" {
      for_each = {
        Increase = { operator = "GreaterThan", threshold = var.replicants.cpu }
        Decrease = { operator = "LessThan", threshold = var.replicants.cpu / 2 }
      }
      content {
        metric_trigger {
          metric_name        = "Percentage CPU"
          metric_resource_id = azurerm_linux_virtual_machine_scale_set.replicants[0].id
          time_grain         = "PT1M"
          statistic          = "Average"
          time_window        = "PT5M"
          time_aggregation   = "Average"
          operator           = rule.value.operator
          threshold          = rule.value.threshold
        }
        scale_action {
          direction = rule.key
          type      = "ChangeCount"
          value     = 1
          cooldown  = "PT5M"
        }
      }
    }
  }
}
