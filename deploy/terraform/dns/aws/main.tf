locals {
  addresses = { for pair in flatten([for name, r in var.regions : [for i, a in r.addresses : { key = "${name}-${i}", region = name, address = a, port = r.port }]]) : pair.key => pair }
}

resource "aws_route53_health_check" "address" {
  for_each          = local.addresses
  type              = "TCP"
  ip_address        = each.value.address
  port              = each.value.port
  request_interval  = 10
  failure_threshold = 2
  tags              = { Name = each.key }
}

# A region is there while one of its addresses answers.
resource "aws_route53_health_check" "region" {
  for_each               = var.regions
  type                   = "CALCULATED"
  child_healthchecks     = [for key, a in local.addresses : aws_route53_health_check.address[key].id if a.region == each.key]
  child_health_threshold = 1
  tags                   = { Name = each.key }
}

resource "aws_route53_record" "devices" {
  for_each        = var.regions
  zone_id         = var.zone
  name            = var.name
  type            = "A"
  ttl             = var.ttl
  records         = each.value.addresses
  set_identifier  = each.key
  health_check_id = aws_route53_health_check.region[each.key].id
  latency_routing_policy { region = each.value.near }
}
