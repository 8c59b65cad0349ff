# One secret a node: all files below /etc/causeway that it needs, as one JSON object, so that it always gets a set that fits.

locals {
  optional = [for f in ["acl", "dns-login"] : f if fileexists("${var.files}/${f}")]
  lists    = fileexists("${var.files}/crl.pem") ? ["crl.pem"] : []

  shared = local.witness ? concat(["ca.pem"], local.lists) : concat(["ca.pem", "gossip.key", "device.pem", "device-key.pem"], local.lists,
    contains(var.devices.auth, "cert") ? ["devices-ca.pem"] : [],
    contains(var.devices.auth, "password") ? ["users"] : [],
  local.optional)

  node_file_name = local.witness ? "witness.yaml" : "causeway.yaml"
  secret = { for name in local.secrets : name => jsonencode(merge(
    { for f in concat(local.shared, ["${name}.pem", "${name}-key.pem"]) : f => file("${var.files}/${f}") },
    var.hook == null ? {} : { dns-hook = var.hook },
    { (local.node_file_name) = yamlencode(local.node_file[name]) },
  )) }

  # A store takes a new version of a secret when this number changes; of the content it tells 32 bits.
  versions = { for name, text in local.secret : name => parseint(substr(sha256(text), 0, 8), 16) }
}
