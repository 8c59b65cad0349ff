resource "aws_lb" "devices" {
  count                            = local.serves ? 1 : 0
  name                             = local.name
  load_balancer_type               = "network"
  internal                         = var.private
  security_groups                  = [aws_security_group.balancer[0].id]
  enable_cross_zone_load_balancing = true
  tags                             = local.tags
  # Fixed addresses: names of devices may be answered from another cloud.
  dynamic "subnet_mapping" {
    for_each = local.cores
    content {
      subnet_id            = aws_subnet.nodes[subnet_mapping.key].id
      allocation_id        = local.public ? aws_eip.devices[subnet_mapping.key].id : null
      private_ipv4_address = local.public ? null : cidrhost(subnet_mapping.value.subnet, 20)
    }
  }
}

resource "aws_eip" "devices" {
  for_each = local.serves && local.public ? local.cores : {}
  domain   = "vpc"
  tags     = merge(local.tags, { Name = "${each.key}-devices" })
}

resource "aws_lb_target_group" "devices" {
  count             = local.serves ? 1 : 0
  name              = local.name
  vpc_id            = aws_vpc.region.id
  protocol          = "TCP"
  port              = local.ports.devices
  proxy_protocol_v2 = true
  # A node parts from its devices itself, at a pace.
  deregistration_delay   = 60
  connection_termination = true
  tags                   = local.tags

  health_check {
    protocol            = "HTTP"
    port                = local.ports.health
    path                = "/readyz"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
  # Devices of a node that is given up are closed, so that they come back now and not after their keep-alive; one that stops
  # says 503, too, and is given the time it needs to part from them.
  target_health_state {
    enable_unhealthy_connection_termination = false
    unhealthy_draining_interval             = 60
  }
}

resource "aws_lb_listener" "devices" {
  count             = local.serves ? 1 : 0
  load_balancer_arn = aws_lb.devices[0].arn
  protocol          = "TCP"
  port              = local.ports.devices
  # Longer than keep-alives: an idle device is the broker's to judge.
  tcp_idle_timeout_seconds = 6000
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.devices[0].arn
  }
  tags = local.tags
}

resource "aws_lb_target_group_attachment" "core" {
  for_each         = local.serves ? local.cores : {}
  target_group_arn = aws_lb_target_group.devices[0].arn
  target_id        = aws_instance.core[each.key].id
}
