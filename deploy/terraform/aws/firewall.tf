resource "aws_security_group" "nodes" {
  name        = "${local.name}-nodes"
  description = "Nodes of ${var.name}"
  vpc_id      = aws_vpc.region.id
  tags        = local.tags
}

resource "aws_security_group" "balancer" {
  count       = local.serves ? 1 : 0
  name        = "${local.name}-devices"
  description = "Devices of ${var.name}"
  vpc_id      = aws_vpc.region.id
  tags        = local.tags
}

locals {
  serves = var.kind == "region"

  # Between nodes; what anybody may dial who has a certificate; and what the balancer passes on and asks.
  inside = local.serves ? {
    gossip_tcp = { protocol = "tcp", port = local.ports.gossip }
    gossip_udp = { protocol = "udp", port = local.ports.gossip }
    streams    = { protocol = "tcp", port = local.ports.streams }
  } : {}
  # By number: the addresses of a peer that is made along with this region are known only then.
  links = { for pair in setproduct(["udp", "tcp"], range(local.public ? length(var.link_sources) : 0)) :
  join("-", pair) => { protocol = pair[0], port = local.ports.link[pair[0]], source = var.link_sources[pair[1]] } }
  passed = local.serves ? { devices = local.ports.devices, health = local.ports.health } : {}
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each                     = local.inside
  security_group_id            = aws_security_group.nodes.id
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "links" {
  for_each          = local.links
  security_group_id = aws_security_group.nodes.id
  cidr_ipv4         = each.value.source
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "passed" {
  for_each                     = local.passed
  security_group_id            = aws_security_group.nodes.id
  referenced_security_group_id = aws_security_group.balancer[0].id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_egress_rule" "nodes" {
  security_group_id = aws_security_group.nodes.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_vpc_security_group_ingress_rule" "devices" {
  for_each          = local.serves ? toset(var.devices.sources) : []
  security_group_id = aws_security_group.balancer[0].id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = local.ports.devices
  to_port           = local.ports.devices
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each                     = local.passed
  security_group_id            = aws_security_group.balancer[0].id
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}
