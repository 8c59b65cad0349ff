module "core" {
  source       = "../core"
  name         = var.name
  location     = var.location
  kind         = var.kind
  cidr         = var.cidr
  zones        = var.zones
  private      = var.private
  cores        = var.cores
  replicants   = var.replicants
  package      = var.package
  files        = var.files
  devices      = var.devices
  peers        = var.peers
  link_sources = var.link_sources
  takeover     = var.takeover
  hook         = var.hook
  settings     = var.settings
  backup       = var.backup
  place        = one([for b in aws_s3_bucket.backup : "s3://${b.bucket}/${var.name}"])

  store = file("${path.module}/store.sh")
  # Attached by a name that the instance sees: nvme-Amazon_Elastic_Block_Store_vol0123….
  disks = [for name in local.names : "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.data[name].id, "-", "")}"]
  limit = 65536
  # The balancer looks every 5 s and wants two answers.
  balancer = { proxy = true, notice = "15s" }
}

locals {
  name  = "causeway-${var.name}"
  names = [for i in range(var.kind == "witness" ? 1 : 3) : "${var.name}-${i + 1}"]
  cores = module.core.cores
  ports = module.core.ports
  tags  = merge(var.labels, { Name = local.name, causeway = var.name })
  # Peers dial the cores themselves.
  public = !var.private
}
