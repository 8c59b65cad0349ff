resource "azurerm_storage_account" "backup" {
  for_each                        = var.backup ? toset(["backup"]) : []
  name                            = "cw${substr(replace(var.name, "-", ""), 0, 12)}${substr(sha256("${data.azurerm_client_config.me.subscription_id}${var.name}"), 0, 10)}"
  location                        = var.location
  resource_group_name             = azurerm_resource_group.region.name
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  allow_nested_items_to_be_public = false
  shared_access_key_enabled       = false
  tags                            = local.tags
  blob_properties { versioning_enabled = true }
}

resource "azurerm_storage_container" "backup" {
  for_each           = azurerm_storage_account.backup
  name               = "backup"
  storage_account_id = each.value.id
}

# Nodes write and read, and delete nothing.
resource "azurerm_role_definition" "backup" {
  for_each = azurerm_storage_container.backup
  name     = "${local.name}-backup"
  scope    = azurerm_resource_group.region.id
  permissions {
    data_actions = [
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
    ]
  }
}

resource "azurerm_role_assignment" "backup" {
  for_each           = { for pair in setproduct(keys(azurerm_storage_container.backup), module.core.secrets) : join(" ", pair) => pair }
  scope              = azurerm_storage_container.backup[each.value[0]].id
  role_definition_id = azurerm_role_definition.backup[each.value[0]].role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.node[each.value[1]].principal_id
}
