resource "google_compute_health_check" "port" {
  name                = "causeway-devices"
  check_interval_sec  = 30
  timeout_sec         = 5
  unhealthy_threshold = 2
  # Who asks for names; addresses of any cloud are asked from there.
  source_regions = slice(distinct([for r in var.regions : r.near]), 0, min(3, length(distinct([for r in var.regions : r.near]))))
  tcp_health_check { port = one(distinct([for r in var.regions : r.port])) }
}

resource "google_dns_record_set" "devices" {
  managed_zone = var.zone
  name         = "${trimsuffix(var.name, ".")}."
  type         = "A"
  ttl          = var.ttl
  routing_policy {
    health_check = google_compute_health_check.port.id
    dynamic "geo" {
      for_each = var.regions
      content {
        location = geo.value.near
        health_checked_targets { external_endpoints = geo.value.addresses }
      }
    }
  }
}
