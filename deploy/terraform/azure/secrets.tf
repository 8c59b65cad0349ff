data "azurerm_client_config" "me" {}

# The name is one for all of Azure, so it ends in what is this subscription's and this region's alone.
resource "azurerm_key_vault" "region" {
  name                       = "cw-${substr(var.name, 0, 12)}-${substr(sha256("${data.azurerm_client_config.me.subscription_id}${var.name}"), 0, 8)}"
  location                   = var.location
  resource_group_name        = azurerm_resource_group.region.name
  tenant_id                  = data.azurerm_client_config.me.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = true
  tags                       = local.tags
}

# Who runs terraform writes the secrets.
resource "azurerm_role_assignment" "writer" {
  scope                = azurerm_key_vault.region.id
  role_definition_name = "Key Vault Secrets Officer"
  principal_id         = data.azurerm_client_config.me.object_id
}

# Written only: neither state nor plan has the content.
resource "azurerm_key_vault_secret" "node" {
  for_each         = toset(module.core.secrets)
  name             = each.value
  key_vault_id     = azurerm_key_vault.region.id
  value_wo         = module.core.secret[each.value]
  value_wo_version = module.core.versions[each.value]
  content_type     = "application/json"
  depends_on       = [azurerm_role_assignment.writer]
}

resource "azurerm_user_assigned_identity" "node" {
  for_each            = toset(module.core.secrets)
  name                = "causeway-${each.value}"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
}

# Each node may read its own secret and no other.
resource "azurerm_role_assignment" "reader" {
  for_each             = azurerm_key_vault_secret.node
  scope                = each.value.resource_versionless_id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.node[each.key].principal_id
}
