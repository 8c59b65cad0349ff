resource "aws_vpc" "region" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  tags                 = local.tags
  lifecycle {
    precondition {
      condition     = alltrue([for z in var.zones : startswith(z, var.location)])
      error_message = "zones: some are not in ${var.location}."
    }
  }
}

# A network without rules: nothing falls back on the default group, which lets its members talk.
resource "aws_default_security_group" "none" {
  vpc_id = aws_vpc.region.id
}

resource "aws_subnet" "nodes" {
  for_each          = local.cores
  vpc_id            = aws_vpc.region.id
  availability_zone = each.value.zone
  cidr_block        = each.value.subnet
  tags              = merge(local.tags, { Name = "${local.name}-${each.value.index + 1}" })
}

resource "aws_internet_gateway" "region" {
  vpc_id = aws_vpc.region.id
  tags   = local.tags
}

resource "aws_route_table" "nodes" {
  vpc_id = aws_vpc.region.id
  tags   = local.tags
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.nodes.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = local.public ? aws_internet_gateway.region.id : null
  nat_gateway_id         = local.public ? null : aws_nat_gateway.out[0].id
}

resource "aws_route_table_association" "nodes" {
  for_each       = aws_subnet.nodes
  subnet_id      = each.value.id
  route_table_id = aws_route_table.nodes.id
}

# A private region goes out through NAT, from a small network that has the only way to the gateway. AWS forgets UDP after
# 350 s; links speak more often.
resource "aws_subnet" "nat" {
  count             = local.public ? 0 : 1
  vpc_id            = aws_vpc.region.id
  availability_zone = var.zones[0]
  cidr_block        = cidrsubnet(var.cidr, 6, 63)
  tags              = merge(local.tags, { Name = "${local.name}-nat" })
}

resource "aws_route_table" "nat" {
  count  = local.public ? 0 : 1
  vpc_id = aws_vpc.region.id
  tags   = merge(local.tags, { Name = "${local.name}-nat" })
}

resource "aws_route" "nat" {
  count                  = local.public ? 0 : 1
  route_table_id         = aws_route_table.nat[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.region.id
}

resource "aws_route_table_association" "nat" {
  count          = local.public ? 0 : 1
  subnet_id      = aws_subnet.nat[0].id
  route_table_id = aws_route_table.nat[0].id
}

resource "aws_eip" "nat" {
  count  = local.public ? 0 : 1
  domain = "vpc"
  tags   = merge(local.tags, { Name = "${local.name}-nat" })
}

resource "aws_nat_gateway" "out" {
  count         = local.public ? 0 : 1
  subnet_id     = aws_subnet.nat[0].id
  allocation_id = aws_eip.nat[0].id
  tags          = local.tags
  depends_on    = [aws_internet_gateway.region]
}

# Stable addresses that peers dial: the core that leads the home runs the links, and each may lead.
resource "aws_eip" "link" {
  for_each = local.public ? local.cores : {}
  domain   = "vpc"
  tags     = merge(local.tags, { Name = each.key })
}

resource "aws_eip_association" "link" {
  for_each      = aws_eip.link
  allocation_id = each.value.id
  instance_id   = aws_instance.core[each.key].id
}
