# One region in one cloud. For another cloud change source and provider; the variables stay.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.0" }
  }
}

provider "aws" {
  region = "eu-central-1"
}

variable "package" {
  type = object({ url = string, sha256 = string })
}

module "eu" {
  source   = "../../aws"
  name     = "eu"
  location = "eu-central-1"
  zones    = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  cidr     = "10.20.0.0/20"
  cores    = { machine = "m7i.large", disk_gib = 200 }
  package  = var.package
  files    = "${path.root}/files/eu"
}

output "devices" {
  value = module.eu.devices
}

output "link" {
  value = module.eu.link
}
