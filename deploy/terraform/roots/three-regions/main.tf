# Three regions in three clouds, each linked with both others, and a witness for who hosts a home. us is private: it dials the
# others, and devices reach it from inside. With var.takeover us is the standby of eu, and a witness in a fourth place votes.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws     = { source = "hashicorp/aws", version = "~> 6.0" }
    google  = { source = "hashicorp/google", version = "~> 7.0" }
    azurerm = { source = "hashicorp/azurerm", version = "~> 4.0" }
  }
}

provider "aws" {
  region = "eu-central-1"
}

provider "google" {
  project = var.google_project
  region  = "us-east4"
}

provider "azurerm" {
  features {}
  subscription_id     = var.azure_subscription
  storage_use_azuread = true
}

variable "google_project" {
  type = string
}

variable "azure_subscription" {
  type = string
}

variable "ssh_key" {
  description = "Public key that Azure wants for its machines."
  type        = string
}

variable "package" {
  type = object({ url = string, sha256 = string })
}

variable "takeover" {
  description = "Make the witness, and tell the nodes who votes and stands by for whom."
  type        = bool
  default     = false
}

locals {
  voters = [{ name = "eu" }, { name = "us", standby_of = ["eu"] }, { name = "ap", vote = false }]
  # The regions dial the witness; it is told of itself without.
  takeover = { for key, value in {
    regions  = concat(local.voters, [{ name = "w1", witness = true, dial = one(module.witness[*].link.dial) }])
    takeover = { mode = "manual" }
  } : key => value if var.takeover }
}

module "eu" {
  source   = "../../aws"
  name     = "eu"
  location = "eu-central-1"
  zones    = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  cidr     = "10.20.0.0/20"
  cores    = { machine = "m7i.large", disk_gib = 200 }
  backup   = true
  package  = var.package
  files    = "${path.root}/files/eu"
  takeover = local.takeover
  peers = {
    (module.us.link.name) = {}
    (module.ap.link.name) = { dial = module.ap.link.dial }
  }
}

module "us" {
  source   = "../../gcp"
  name     = "us"
  location = "us-east4"
  zones    = ["us-east4-a", "us-east4-b", "us-east4-c"]
  cidr     = "10.30.0.0/20"
  private  = true
  cores    = { machine = "n2-standard-2", disk_gib = 200 }
  backup   = true
  package  = var.package
  files    = "${path.root}/files/us"
  takeover = local.takeover
  peers    = { for r in [module.eu, module.ap] : r.link.name => { dial = r.link.dial } }
}

module "ap" {
  source     = "../../azure"
  name       = "ap"
  location   = "southeastasia"
  zones      = ["1", "2", "3"]
  cidr       = "10.40.0.0/20"
  cores      = { machine = "Standard_D2s_v5", disk_gib = 200 }
  replicants = { machine = "Standard_F2s_v2", min = 0, max = 6 }
  backup     = true
  ssh_key    = var.ssh_key
  package    = var.package
  files      = "${path.root}/files/ap"
  takeover   = local.takeover
  peers = {
    (module.us.link.name) = {}
    (module.eu.link.name) = { dial = module.eu.link.dial }
  }
}

module "witness" {
  count    = var.takeover ? 1 : 0
  source   = "../../gcp"
  name     = "w1"
  kind     = "witness"
  location = "northamerica-northeast1"
  zones    = ["northamerica-northeast1-a", "northamerica-northeast1-b", "northamerica-northeast1-c"]
  cidr     = "10.50.0.0/22"
  cores    = { machine = "e2-small", disk_gib = 10 }
  package  = var.package
  files    = "${path.root}/files/w1"
  takeover = { regions = concat(local.voters, [{ name = "w1", witness = true }]) }
}

output "devices" {
  value = { eu = module.eu.devices, us = module.us.devices, ap = module.ap.devices }
}
