locals {
  image = coalesce(var.image, "projects/debian-cloud/global/images/family/debian-12")
  metadata = merge({ enable-oslogin = "TRUE", block-project-ssh-keys = "TRUE" },
  var.ssh_key == null ? {} : { ssh-keys = "operator:${var.ssh_key}" })
}

# A disk is no part of its machine: it outlives it, and the node that comes back has what it had acknowledged. Google encrypts
# all disks.
resource "google_compute_disk" "data" {
  for_each = local.cores
  name     = "${each.key}-data"
  zone     = each.value.zone
  type     = "pd-ssd"
  size     = var.cores.disk_gib
  labels   = local.labels
  lifecycle { prevent_destroy = true }
}

resource "google_compute_instance" "core" {
  for_each                  = local.cores
  name                      = each.key
  zone                      = each.value.zone
  machine_type              = var.cores.machine
  labels                    = local.labels
  metadata                  = local.metadata
  metadata_startup_script   = module.core.boot[each.key]
  allow_stopping_for_update = true

  boot_disk {
    initialize_params { image = local.image }
  }
  attached_disk {
    source      = google_compute_disk.data[each.key].id
    device_name = "data"
  }
  network_interface {
    subnetwork = google_compute_subnetwork.nodes.id
    network_ip = google_compute_address.inside[each.key].address
    dynamic "access_config" {
      for_each = local.public ? [google_compute_address.link[each.key].address] : []
      content { nat_ip = access_config.value }
    }
  }
  service_account {
    email  = google_service_account.node[each.key].email
    scopes = ["cloud-platform"] # what it may do is the account's roles
  }
  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }
  # A newer image or boot script replaces no machine by itself: three would go at once. scripts/replace-node does it, one
  # at a time.
  lifecycle { ignore_changes = [boot_disk[0].initialize_params[0].image, metadata_startup_script] }
  depends_on = [google_secret_manager_secret_version.node, google_secret_manager_secret_iam_member.node, google_compute_router_nat.out]
}

resource "google_compute_instance_template" "replicant" {
  count                   = module.core.replicants ? 1 : 0
  name_prefix             = "${local.name}-replicant-"
  machine_type            = var.replicants.machine
  labels                  = local.labels
  metadata                = local.metadata
  metadata_startup_script = module.core.boot[var.name]

  disk {
    source_image = local.image
    boot         = true
  }
  network_interface { subnetwork = google_compute_subnetwork.nodes.id }
  service_account {
    email  = google_service_account.node[var.name].email
    scopes = ["cloud-platform"]
  }
  shielded_instance_config { enable_secure_boot = true }
  lifecycle { create_before_destroy = true }
}

resource "google_compute_region_instance_group_manager" "replicants" {
  count                     = module.core.replicants ? 1 : 0
  name                      = "${local.name}-replicants"
  base_instance_name        = "${local.name}-r"
  region                    = var.location
  distribution_policy_zones = var.zones
  version { instance_template = google_compute_instance_template.replicant[0].id }
}

resource "google_compute_region_autoscaler" "replicants" {
  count  = module.core.replicants ? 1 : 0
  name   = "${local.name}-replicants"
  region = var.location
  target = google_compute_region_instance_group_manager.replicants[0].id
  autoscaling_policy {
    min_replicas    = var.replicants.min
    max_replicas    = var.replicants.max
    cooldown_period = 300
    cpu_utilization { target = var.replicants.cpu / 100 }
  }
}
