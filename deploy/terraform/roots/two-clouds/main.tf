# Two regions in two clouds, linked, with one name for the devices of both. Each side's link output is the other's input.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws    = { source = "hashicorp/aws", version = "~> 6.0" }
    google = { source = "hashicorp/google", version = "~> 7.0" }
  }
}

provider "aws" {
  region = "eu-central-1"
}

provider "google" {
  project = var.google_project
  region  = "us-east4"
}

variable "google_project" {
  type = string
}

variable "package" {
  type = object({ url = string, sha256 = string })
}

variable "dns" {
  description = "Route 53's id of the zone, and the devices' name in it."
  type        = object({ zone = string, name = string })
}

module "eu" {
  source       = "../../aws"
  name         = "eu"
  location     = "eu-central-1"
  zones        = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  cidr         = "10.20.0.0/20"
  cores        = { machine = "m7i.large", disk_gib = 200 }
  replicants   = { machine = "c7i.large", min = 0, max = 6 }
  package      = var.package
  files        = "${path.root}/files/eu"
  peers        = { (module.us.link.name) = { dial = module.us.link.dial } }
  link_sources = module.us.link.sources
}

module "us" {
  source       = "../../gcp"
  name         = "us"
  location     = "us-east4"
  zones        = ["us-east4-a", "us-east4-b", "us-east4-c"]
  cidr         = "10.30.0.0/20"
  cores        = { machine = "n2-standard-2", disk_gib = 200 }
  replicants   = { machine = "n2-highcpu-2", min = 0, max = 6 }
  package      = var.package
  files        = "${path.root}/files/us"
  peers        = { (module.eu.link.name) = { dial = module.eu.link.dial } }
  link_sources = module.eu.link.sources
}

module "devices" {
  source = "../../dns/aws"
  zone   = var.dns.zone
  name   = var.dns.name
  regions = {
    eu = merge(module.eu.devices, { near = "eu-central-1" })
    us = merge(module.us.devices, { near = "us-east-1" })
  }
}

output "devices" {
  value = { eu = module.eu.devices, us = module.us.devices }
}
