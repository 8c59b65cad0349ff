# What every node of a region is told, in any cloud: its node file, its secret and the script that makes a machine a node.

locals {
  witness = var.kind == "witness"
  zones   = slice(var.zones, 0, local.witness ? 1 : 3)
  subnets = [for i, _ in local.zones : cidrsubnet(var.cidr, 2, i)]

  # Addresses are fixed, so a node that is replaced comes back where the others look for it.
  cores = { for i, zone in local.zones : "${var.name}-${i + 1}" => {
    index   = i
    zone    = zone
    subnet  = local.subnets[i]
    address = cidrhost(local.subnets[i], 10)
  } }
  replicants = !local.witness && var.replicants.max > 0
  addresses  = [for _, n in local.cores : n.address]

  # Names of the secrets: one of each core node, one that all replicants share.
  secrets = concat(keys(local.cores), local.replicants ? [var.name] : [])

  ports = {
    devices = var.devices.port
    link    = { udp = 7444, tcp = 7445 }
    gossip  = 7946
    streams = 7947
    health  = 9464
  }
}

locals {
  listener = {
    name           = "devices"
    type           = "mqtts"
    listen         = ":${local.ports.devices}"
    auth           = var.devices.auth
    proxy_protocol = var.balancer.proxy ? "v2" : "off"
    tls = merge({ cert = "${local.etc}/device.pem", key = "${local.etc}/device-key.pem" },
      contains(var.devices.auth, "cert") ? { client_ca = ["${local.etc}/devices-ca.pem"] } : {},
    { for k, v in { crl = var.devices.crl, crl_stale = var.devices.crl_stale } : k => v if length(var.devices.crl) > 0 })
  }
  links = [for name, p in var.peers : merge({ peer = name, dial = p.dial, in = p.in, out = p.out, spool = p.spool },
  length(p.never) > 0 ? { never = p.never } : {}, p.prefix != "" ? { in_prefix = p.prefix } : {})]
  accept = { listen = var.private ? "" : ":${local.ports.link.udp}", listen_tcp = var.private ? "" : ":${local.ports.link.tcp}" }

  auth = merge(
    contains(var.devices.auth, "password") ? { password_file = "${local.etc}/users" } : {},
  contains(local.optional, "acl") ? { acl_file = "${local.etc}/acl" } : {})

  common = {
    region   = var.name
    data_dir = local.data
    log      = { format = "json" }
  }
  serving = {
    listeners   = [local.listener]
    auth        = local.auth
    metrics     = { listen = ":${local.ports.health}" }
    stop_notice = var.balancer.notice
  }
  # merge goes by whole top-level keys: settings = { link = … } replaces link, not a part of it.
  core_file = { for name, n in local.cores : name => merge(local.common, {
    node     = name
    identity = local.identity[name]
    link     = local.accept
    },
    { for key, value in merge(local.serving, {
      links   = local.links
      cluster = merge(local.cluster, { voters = 3, advertise = n.address })
    }) : key => value if !local.witness },
    # Old ones go by the bucket's own rules: nodes may not remove any.
    { for key, value in { backup = { to = var.place, every = "6h", keep = 0 } } : key => value if var.backup && !local.witness },
  var.takeover, var.settings) }
  # A replicant's name and address are its machine's; fetch.sh fills them in.
  replicant_file = { for name in local.replicants ? [var.name] : [] : name => merge(local.common, local.serving, {
    node     = "@NODE@"
    role     = "replicant"
    identity = local.identity[name]
    cluster  = merge(local.cluster, { advertise = "@ADDRESS@" })
  }, var.settings) }
  node_file = merge(local.core_file, local.replicant_file)

  cluster = { join = { nodes = local.addresses }, gossip_key = "file:${local.etc}/gossip.key" }
  identity = { for name in local.secrets : name => merge({ cert = "${local.etc}/${name}.pem", key = "${local.etc}/${name}-key.pem", ca = "${local.etc}/ca.pem" },
  length(local.lists) > 0 ? { crl = ["${local.etc}/crl.pem"] } : {}) }
  etc  = "/etc/causeway"
  data = local.witness ? "/var/lib/causeway-witness" : "/var/lib/causeway"
}
