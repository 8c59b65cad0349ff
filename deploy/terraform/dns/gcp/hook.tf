variable "endpoint" {
  description = "Cloud DNS."
  type        = string
  default     = "https://dns.googleapis.com"
}

output "hook" {
  description = "The program for takeover.hooks.promote: the variable hook of the regions' modules. Its service account needs roles/dns.admin on the zone."
  value = templatefile("${path.module}/hook.sh.tftpl", {
    endpoint = var.endpoint
    project  = google_dns_record_set.devices.project
    zone     = var.zone
    name     = google_dns_record_set.devices.name
    items    = { for name, r in var.regions : name => jsonencode({ location = r.near, healthCheckedTargets = { externalEndpoints = r.addresses } }) }
  })
}
