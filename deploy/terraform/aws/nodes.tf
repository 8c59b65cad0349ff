data "aws_ami" "debian" {
  count       = var.image == null ? 1 : 0
  owners      = ["136693071363"] # Debian
  most_recent = true
  filter {
    name   = "name"
    values = ["debian-12-amd64-*"]
  }
}

locals {
  image = var.image == null ? data.aws_ami.debian[0].id : var.image
}

# For who prefers SSH through a Session Manager tunnel; no port is opened for it.
resource "aws_key_pair" "operator" {
  count      = var.ssh_key == null ? 0 : 1
  key_name   = local.name
  public_key = var.ssh_key
  tags       = local.tags
}

# A disk is no part of its machine: it outlives it, and the node that comes back has what it had acknowledged.
resource "aws_ebs_volume" "data" {
  for_each          = local.cores_static
  availability_zone = each.value
  size              = var.cores.disk_gib
  type              = "gp3"
  encrypted         = true
  tags              = merge(local.tags, { Name = each.key })
  lifecycle { prevent_destroy = true }
}

locals {
  # As module.core.cores, but known without the disks, which core is told of.
  cores_static = zipmap(local.names, slice(var.zones, 0, length(local.names)))
}

resource "aws_volume_attachment" "data" {
  for_each    = local.cores
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data[each.key].id
  instance_id = aws_instance.core[each.key].id
}

resource "aws_instance" "core" {
  for_each               = local.cores
  ami                    = local.image
  instance_type          = var.cores.machine
  subnet_id              = aws_subnet.nodes[each.key].id
  private_ip             = each.value.address
  vpc_security_group_ids = [aws_security_group.nodes.id]
  # Until its own address is bound to it, for the first downloads.
  associate_public_ip_address = local.public
  iam_instance_profile        = aws_iam_instance_profile.node[each.key].name
  key_name                    = one(aws_key_pair.operator[*].key_name)
  user_data                   = module.core.boot[each.key]
  monitoring                  = true
  tags                        = merge(local.tags, { Name = each.key })

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  root_block_device {
    volume_type = "gp3"
    encrypted   = true
  }
  # A newer image or boot script replaces no machine by itself: three would go at once. scripts/replace-node does it, one
  # at a time.
  lifecycle { ignore_changes = [ami, user_data] }
  depends_on = [aws_secretsmanager_secret_version.node, aws_route.out]
}

resource "aws_launch_template" "replicant" {
  count         = module.core.replicants ? 1 : 0
  name          = "${local.name}-replicant"
  image_id      = local.image
  instance_type = var.replicants.machine
  key_name      = one(aws_key_pair.operator[*].key_name)
  user_data     = base64encode(module.core.boot[var.name])
  tags          = local.tags

  iam_instance_profile { name = aws_iam_instance_profile.node[var.name].name }
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  network_interfaces {
    associate_public_ip_address = local.public
    security_groups             = [aws_security_group.nodes.id]
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs { encrypted = true }
  }
}

resource "aws_autoscaling_group" "replicants" {
  count               = module.core.replicants ? 1 : 0
  name                = "${local.name}-replicants"
  min_size            = var.replicants.min
  max_size            = var.replicants.max
  vpc_zone_identifier = [for s in aws_subnet.nodes : s.id]
  target_group_arns   = [aws_lb_target_group.devices[0].arn]
  health_check_type   = "ELB"
  # Until a replicant has copied the state it says that it is not ready.
  health_check_grace_period = 300
  launch_template {
    id      = aws_launch_template.replicant[0].id
    version = aws_launch_template.replicant[0].latest_version
  }
  dynamic "tag" {
    for_each = local.tags
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}

resource "aws_autoscaling_policy" "cpu" {
  count                  = module.core.replicants ? 1 : 0
  name                   = "${local.name}-cpu"
  autoscaling_group_name = aws_autoscaling_group.replicants[0].name
  policy_type            = "TargetTrackingScaling"
  target_tracking_configuration {
    target_value = var.replicants.cpu
    predefined_metric_specification { predefined_metric_type = "ASGAverageCPUUtilization" }
  }
}
