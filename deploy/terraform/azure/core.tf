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
  place        = one([for a in azurerm_storage_account.backup : "azblob://${a.name}/backup/${var.name}"])

  store = templatefile("${path.module}/store.sh.tftpl", { vault = trimsuffix(azurerm_key_vault.region.vault_uri, "/") })
  disks = [for name in local.names : "/dev/disk/azure/scsi1/lun0"]
  limit = 25000
  # A passthrough balancer: nodes see the device's own address. It asks every 5 s and wants two answers.
  balancer = { proxy = false, notice = "15s" }
}

locals {
  name   = "causeway-${var.name}"
  names  = [for i in range(var.kind == "witness" ? 1 : 3) : "${var.name}-${i + 1}"]
  cores  = module.core.cores
  ports  = module.core.ports
  tags   = merge(var.labels, { causeway = var.name })
  serves = var.kind == "region"
  # Peers dial the cores themselves.
  public = !var.private
}
