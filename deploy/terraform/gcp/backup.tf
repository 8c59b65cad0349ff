resource "google_storage_bucket" "backup" {
  for_each                    = var.backup ? toset(["backup"]) : []
  name                        = "${local.name}-backup-${data.google_project.this[0].number}"
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = local.labels
  versioning { enabled = true }
}

data "google_project" "this" {
  count = var.backup ? 1 : 0
}

# Nodes write and read, and delete nothing.
resource "google_storage_bucket_iam_member" "backup" {
  for_each = { for pair in setproduct(keys(google_storage_bucket.backup), module.core.secrets, ["objectCreator", "objectViewer"]) : join(" ", pair) => pair }
  bucket   = google_storage_bucket.backup[each.value[0]].name
  role     = "roles/storage.${each.value[2]}"
  member   = google_service_account.node[each.value[1]].member
}
