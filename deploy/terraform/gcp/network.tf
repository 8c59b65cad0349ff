resource "google_compute_network" "region" {
  name                    = local.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "nodes" {
  name                     = local.name
  network                  = google_compute_network.region.id
  region                   = var.location
  ip_cidr_range            = var.cidr
  private_ip_google_access = true
}

resource "google_compute_address" "inside" {
  for_each     = local.cores
  name         = each.key
  region       = var.location
  address_type = "INTERNAL"
  subnetwork   = google_compute_subnetwork.nodes.id
  address      = each.value.address
}

# Stable addresses that peers dial: the core that leads the home runs the links, and each may lead.
resource "google_compute_address" "link" {
  for_each = local.public ? local.cores : {}
  name     = "${each.key}-link"
  region   = var.location
}

# A private region goes out through NAT, and so do replicants, which have no address of their own.
resource "google_compute_router" "out" {
  name    = local.name
  region  = var.location
  network = google_compute_network.region.id
}

resource "google_compute_address" "nat" {
  name   = "${local.name}-nat"
  region = var.location
}

resource "google_compute_router_nat" "out" {
  name                               = local.name
  router                             = google_compute_router.out.name
  region                             = var.location
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.nat.self_link]
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
  # Google forgets UDP after 30 s; a link that is quiet for longer would be dialled anew each time.
  udp_idle_timeout_sec                = 300
  enable_endpoint_independent_mapping = true
}

locals {
  inside = local.serves ? { tcp = [local.ports.gossip, local.ports.streams], udp = [local.ports.gossip] } : {}
  # Where Google's health checks of passthrough balancers come from, and its tunnel for operators.
  checks = local.public ? ["35.191.0.0/16", "209.85.152.0/22", "209.85.204.0/22"] : ["35.191.0.0/16", "130.211.0.0/22"]
  tunnel = "35.235.240.0/20"
}

resource "google_compute_firewall" "inside" {
  count                   = local.serves ? 1 : 0
  name                    = "${local.name}-inside"
  network                 = google_compute_network.region.id
  source_service_accounts = local.accounts
  target_service_accounts = local.accounts
  dynamic "allow" {
    for_each = local.inside
    content {
      protocol = allow.key
      ports    = allow.value
    }
  }
}

resource "google_compute_firewall" "links" {
  count                   = local.public ? 1 : 0
  name                    = "${local.name}-links"
  network                 = google_compute_network.region.id
  source_ranges           = var.link_sources
  target_service_accounts = local.accounts
  dynamic "allow" {
    for_each = local.ports.link
    content {
      protocol = allow.key
      ports    = [allow.value]
    }
  }
}

resource "google_compute_firewall" "devices" {
  count                   = local.serves ? 1 : 0
  name                    = "${local.name}-devices"
  network                 = google_compute_network.region.id
  source_ranges           = var.devices.sources
  target_service_accounts = local.accounts
  allow {
    protocol = "tcp"
    ports    = [local.ports.devices]
  }
}

resource "google_compute_firewall" "health" {
  count                   = local.serves ? 1 : 0
  name                    = "${local.name}-health"
  network                 = google_compute_network.region.id
  source_ranges           = local.checks
  target_service_accounts = local.accounts
  allow {
    protocol = "tcp"
    ports    = [local.ports.health]
  }
}

# Operators come in through Identity-Aware Proxy, by their Google account.
resource "google_compute_firewall" "tunnel" {
  name                    = "${local.name}-tunnel"
  network                 = google_compute_network.region.id
  source_ranges           = [local.tunnel]
  target_service_accounts = local.accounts
  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}
