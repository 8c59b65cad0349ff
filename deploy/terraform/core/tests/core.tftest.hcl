# What nodes are told. make deploy makes the folder files first.

variables {
  name     = "eu"
  location = "somewhere"
  cidr     = "10.20.0.0/20"
  zones    = ["a", "b", "c"]
  cores    = { machine = "m" }
  package  = { url = "https://example.com/causeway.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  files    = "./files"
  store    = "secret() { :; }"
  disks    = ["/dev/x", "/dev/y", "/dev/z"]
  limit    = 25000
  balancer = { proxy = true, notice = "15s" }
}

run "three_cores" {
  command = plan
  assert {
    condition     = output.secrets == ["eu-1", "eu-2", "eu-3"]
    error_message = "secrets are those of the three cores"
  }
  assert {
    condition     = [for n in output.cores : n.address] == ["10.20.0.10", "10.20.4.10", "10.20.8.10"]
    error_message = "each core has the tenth address of its zone's network"
  }
  assert {
    condition     = join(" ", keys(jsondecode(output.secret["eu-2"]))) == "ca.pem causeway.yaml device-key.pem device.pem devices-ca.pem eu-2-key.pem eu-2.pem gossip.key"
    error_message = "a node gets its own key and no other's"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-2"])["causeway.yaml"]).cluster.advertise == "10.20.4.10"
    error_message = "a node tells the others its address"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-2"])["causeway.yaml"]).listeners[0].proxy_protocol == "v2"
    error_message = "behind a balancer that says where devices are, the listener reads it"
  }
  assert {
    condition     = strcontains(output.boot["eu-2"], "DISK=/dev/y") && !strcontains(output.boot["eu-2"], "PRIVATE KEY")
    error_message = "the boot script names the disk and holds no secret"
  }
}

run "lists_of_revoked_devices" {
  command = plan
  variables { devices = { crl = ["http://ca.example.com/devices.crl"], crl_stale = "refuse" } }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).listeners[0].tls.crl == ["http://ca.example.com/devices.crl"]
    error_message = "the listener is told where the list is"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).listeners[0].tls.crl_stale == "refuse"
    error_message = "and what it does when it has ended"
  }
}

run "replicants_share_the_regions_certificate" {
  command = plan
  variables { replicants = { machine = "m", max = 3 } }
  assert {
    condition     = contains(output.secrets, "eu") && contains(keys(jsondecode(output.secret["eu"])), "eu-key.pem")
    error_message = "replicants have the secret of the region"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu"])["causeway.yaml"]).role == "replicant"
    error_message = "replicants have the role of one"
  }
}

run "private_regions_listen_for_no_tunnels" {
  command = plan
  variables {
    private = true
    peers   = { us = { dial = ["udp://192.0.2.1:7444"] } }
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).link.listen == ""
    error_message = "a private region is dialled by nobody"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).links[0].dial == ["udp://192.0.2.1:7444"]
    error_message = "a private region dials its peer"
  }
}

run "passwords" {
  command = plan
  variables {
    devices  = { auth = ["password"] }
    settings = { limits = { keepalive_max = "5m" } }
  }
  assert {
    condition     = contains(keys(jsondecode(output.secret["eu-1"])), "users") && !contains(keys(jsondecode(output.secret["eu-1"])), "devices-ca.pem")
    error_message = "with passwords the nodes get the users' file"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).limits.keepalive_max == "5m"
    error_message = "settings go into the node file"
  }
}

run "takeover_is_off_unless_asked_for" {
  command = plan
  assert {
    condition     = !can(yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).takeover)
    error_message = "a key that the binary does not know stops a node"
  }
}

run "takeover" {
  command = plan
  variables { takeover = { regions = [{ name = "eu" }], takeover = { mode = "manual" } } }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).takeover.mode == "manual"
    error_message = "takeover and regions go into the node file as they are"
  }
}

run "hook" {
  command = plan
  variables { hook = "#!/bin/sh" }
  assert {
    condition     = jsondecode(output.secret["eu-1"])["dns-hook"] == "#!/bin/sh"
    error_message = "nodes get the hook as a file"
  }
}

run "witness" {
  command = plan
  variables {
    kind = "witness"
    name = "eu"
  }
  assert {
    condition     = output.secrets == ["eu-1"] && contains(keys(jsondecode(output.secret["eu-1"])), "witness.yaml")
    error_message = "a witness is one node with a file of its own"
  }
  assert {
    condition     = strcontains(output.boot["eu-1"], "causeway-witness.service")
    error_message = "a witness runs its own unit"
  }
}

run "two_zones_are_refused" {
  command = plan
  variables { zones = ["a", "b", "b"] }
  expect_failures = [var.zones]
}

run "replicants_without_a_machine_are_refused" {
  command = plan
  variables { replicants = { max = 3 } }
  expect_failures = [var.replicants]
}

run "a_small_network_is_refused" {
  command = plan
  variables { cidr = "10.0.0.0/24" }
  expect_failures = [var.cidr]
}

run "more_than_the_store_takes_is_refused" {
  command = plan
  variables { limit = 100 }
  expect_failures = [output.secret]
}

run "backups" {
  command = plan
  variables {
    backup = true
    place  = "s3://bucket/eu"
  }
  assert {
    condition     = yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).backup.to == "s3://bucket/eu" && strcontains(output.boot["eu-1"], "rclone")
    error_message = "nodes back up to the bucket, with a tool that reaches it"
  }
}

run "no_backups_unless_asked_for" {
  command = plan
  assert {
    condition     = !can(yamldecode(jsondecode(output.secret["eu-1"])["causeway.yaml"]).backup) && !strcontains(output.boot["eu-1"], "rclone")
    error_message = "nothing of backups without a bucket"
  }
}
