# What a region is, whatever the cloud. The modules aws, gcp and azure have this very file (a link to it), so a region moves
# from cloud to cloud with its variables.

variable "name" {
  description = "Name of the region, as in its certificates: eu."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "name: 1 to 20 of a-z 0-9 -, beginning with a letter; the clouds take no more."
  }
}

variable "kind" {
  description = "region: three core nodes that serve devices. witness: one small node that votes on who hosts a home; its directory is begun once by hand, with `causeway witness init`."
  type        = string
  default     = "region"
  validation {
    condition     = contains(["region", "witness"], var.kind)
    error_message = "kind: region or witness."
  }
}

variable "location" {
  description = "The cloud's own name of the place: eu-central-1, europe-west3, germanywestcentral. The provider's region, where it has one, must be the same."
  type        = string
}

variable "cidr" {
  description = "Private network of the region, /16 to /22; regions need not differ, they meet by public addresses."
  type        = string
  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 22, false)
    error_message = "cidr: a network of /16 to /22, such as 10.20.0.0/20."
  }
}

variable "zones" {
  description = "Zones for the core nodes, one each."
  type        = list(string)
  validation {
    condition     = length(var.zones) == 3 && length(distinct(var.zones)) == 3
    error_message = "zones: three different ones. Two nodes in one zone are lost together, and with them the majority."
  }
}

variable "private" {
  description = "Nobody outside reaches the region: no public addresses, an internal load balancer, and links that this region dials itself through NAT."
  type        = bool
  default     = false
}

variable "cores" {
  description = "Core nodes: machine type of the cloud, and size of the encrypted data disk each has. docs/sizing.md says how large."
  type = object({
    machine  = string
    disk_gib = optional(number, 100)
  })
}

variable "replicants" {
  description = "Replicants, nodes with connections only, scaled between min and max by CPU. max 0: none."
  type = object({
    machine = optional(string)
    min     = optional(number, 0)
    max     = optional(number, 0)
    cpu     = optional(number, 60) # percent that is aimed at
  })
  default = {}
  validation {
    condition     = var.replicants.min <= var.replicants.max && (var.replicants.max == 0 || var.replicants.machine != null)
    error_message = "replicants: min is above max, or machine is missing."
  }
}

variable "package" {
  description = "The Debian package that nodes install: where it is downloaded, and its SHA-256 from the release's SHA256SUMS."
  type        = object({ url = string, sha256 = string })
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.package.sha256))
    error_message = "package.sha256: 64 hexadecimal digits."
  }
}

variable "image" {
  description = "Machine image with Debian 12 and cloud-init, in the cloud's own form. Default: the newest of Debian."
  type        = string
  default     = null
}

variable "files" {
  description = <<-E
    Folder on the machine that runs terraform with what the nodes need to know in secret (docs/runbooks/first-region.md
    makes it): ca.pem, gossip.key, NAME.pem and NAME-key.pem of each core node (eu-1, eu-2, eu-3) and of the region
    (eu, for replicants), device.pem and device-key.pem for the devices' listener, and by devices.auth users or
    devices-ca.pem; crl.pem (revoked identities), acl and dns-login if there are any. It goes into the cloud's secret store and is in no state or plan.
  E
  type        = string
}

variable "devices" {
  description = "Where devices connect (TLS at the nodes), how they prove who they are (cert, password), and from which addresses. crl: URLs of lists of revoked device certificates, and crl_stale what one does that has ended (alarm, refuse)."
  type = object({
    port      = optional(number, 8883)
    auth      = optional(list(string), ["cert"])
    sources   = optional(list(string), ["0.0.0.0/0"])
    crl       = optional(list(string), [])
    crl_stale = optional(string, "alarm")
  })
  default = {}
  validation {
    condition     = length(var.devices.auth) > 0 && length(setsubtract(var.devices.auth, ["cert", "password"])) == 0
    error_message = "devices.auth: cert, password or both."
  }
  validation {
    condition     = (length(var.devices.crl) == 0 || contains(var.devices.auth, "cert")) && contains(["alarm", "refuse"], var.devices.crl_stale)
    error_message = "devices.crl: only with the auth cert; devices.crl_stale: alarm or refuse."
  }
}

variable "peers" {
  description = "Regions this one is linked with, by name. dial: the output link.dial of the other region's module, or nothing if the other one dials; one side is enough."
  type = map(object({
    dial   = optional(list(string), [])
    in     = optional(list(string), ["#"])
    out    = optional(list(string), ["#"])
    never  = optional(list(string), [])
    prefix = optional(string, "")
    spool  = optional(object({ bytes = optional(string, "10GiB"), age = optional(string, "3d") }), {})
  }))
  default = {}
}

variable "link_sources" {
  description = "Networks from which peers may dial. Links prove themselves by certificates, so everywhere is not open house."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "takeover" {
  description = "The keys regions and takeover of the node file, as they are there."
  type        = any
  default     = {}
}

variable "hook" {
  description = "Text of a program that nodes get as /etc/causeway/dns-hook, for takeover.hooks.promote: the output hook of dns/aws, dns/gcp or dns/azure."
  type        = string
  default     = null
}

variable "settings" {
  description = "More of the node file, by its keys: limits, ack, residency, shared, disk, link.relay … It wins over what the module sets."
  type        = any
  default     = {}
}

variable "backup" {
  description = "Make an encrypted, versioned bucket that the nodes may write to and not delete from."
  type        = bool
  default     = false
}

variable "ssh_key" {
  description = "Public key for the machines. No module opens SSH to the world; see each cloud's README for its tunnel. Azure wants one."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels (tags) of everything that is made."
  type        = map(string)
  default     = {}
}
