resource "google_service_account" "node" {
  for_each     = toset(module.core.secrets)
  account_id   = "causeway-${each.value}"
  display_name = "Causeway ${each.value}"
}

locals {
  accounts = [for a in google_service_account.node : a.email]
}

resource "google_secret_manager_secret" "node" {
  for_each  = toset(module.core.secrets)
  secret_id = "causeway-${each.value}"
  labels    = local.labels
  replication {
    user_managed {
      replicas { location = var.location }
    }
  }
}

# Written only: neither state nor plan has the content.
resource "google_secret_manager_secret_version" "node" {
  for_each               = google_secret_manager_secret.node
  secret                 = each.value.id
  secret_data_wo         = module.core.secret[each.key]
  secret_data_wo_version = module.core.versions[each.key]
}

# Each node may read its own secret and no other.
resource "google_secret_manager_secret_iam_member" "node" {
  for_each  = google_secret_manager_secret.node
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.node[each.key].member
}
