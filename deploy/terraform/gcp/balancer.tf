resource "google_compute_instance_group" "cores" {
  for_each  = local.serves ? local.cores : {}
  name      = each.key
  zone      = each.value.zone
  instances = [google_compute_instance.core[each.key].self_link]
}

resource "google_compute_region_health_check" "ready" {
  count               = local.serves ? 1 : 0
  name                = local.name
  region              = var.location
  check_interval_sec  = 2
  timeout_sec         = 2
  healthy_threshold   = 1
  unhealthy_threshold = 2
  http_health_check {
    port         = local.ports.health
    request_path = "/readyz"
  }
}

resource "google_compute_region_backend_service" "devices" {
  count                 = local.serves ? 1 : 0
  name                  = local.name
  region                = var.location
  protocol              = "TCP"
  load_balancing_scheme = local.public ? "EXTERNAL" : "INTERNAL"
  health_checks         = [google_compute_region_health_check.ready[0].id]
  # A node parts from its devices itself, at a pace.
  connection_draining_timeout_sec = 60
  dynamic "backend" {
    for_each = concat([for g in google_compute_instance_group.cores : g.self_link],
    [for g in google_compute_region_instance_group_manager.replicants : g.instance_group])
    content {
      group          = backend.value
      balancing_mode = "CONNECTION"
    }
  }
}

resource "google_compute_address" "devices" {
  count        = local.serves ? 1 : 0
  name         = "${local.name}-devices"
  region       = var.location
  address_type = local.public ? "EXTERNAL" : "INTERNAL"
  subnetwork   = local.public ? null : google_compute_subnetwork.nodes.id
}

resource "google_compute_forwarding_rule" "devices" {
  count                 = local.serves ? 1 : 0
  name                  = local.name
  region                = var.location
  load_balancing_scheme = local.public ? "EXTERNAL" : "INTERNAL"
  ip_protocol           = "TCP"
  ip_address            = google_compute_address.devices[0].id
  ports                 = [local.ports.devices]
  backend_service       = google_compute_region_backend_service.devices[0].id
  network               = local.public ? null : google_compute_network.region.id
  subnetwork            = local.public ? null : google_compute_subnetwork.nodes.id
  labels                = local.labels
}
