# The script that makes a machine a node. cloud-init runs it once; it holds no secret and does not change when the node file does.

locals {
  boot = { for name in local.secrets : name => templatefile("${path.module}/boot.sh.tftpl", {
    name    = name
    region  = var.name
    unit    = local.witness ? "causeway-witness" : "causeway"
    data    = local.data
    disk    = try(var.disks[local.cores[name].index], "")
    package = var.package
    store   = var.store
    fetch   = file("${path.module}/fetch.sh")
    mount   = file("${path.module}/mount.sh")
    backup  = var.backup && !local.witness
  }) }
}
