mock_provider "aws" { override_during = plan }
mock_provider "google" { override_during = plan }
mock_provider "azurerm" { override_during = plan }

variables {
  package            = { url = "https://example.com/causeway.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  google_project     = "example"
  azure_subscription = "00000000-0000-0000-0000-000000000000"
  ssh_key            = "ssh-ed25519 AAAA example"
}

run "private_region_dials_out" {
  command = plan
  assert {
    condition     = length(module.us.link.dial) == 0 && length(module.us.link.sources) == 1
    error_message = "nobody dials a private region; it comes from its NAT"
  }
  assert {
    condition     = length(module.ap.link.dial) == 6
    error_message = "peers dial each core by UDP and TCP"
  }
  assert {
    condition     = length(module.witness) == 0
    error_message = "no witness unless asked for"
  }
}

run "witness" {
  command = plan
  variables { takeover = true }
  assert {
    condition     = length(module.witness) == 1 && module.witness[0].devices == null
    error_message = "a witness serves no devices"
  }
  assert {
    condition     = length(module.witness[0].link.dial) == 2
    error_message = "the regions dial the witness, which has one node"
  }
}
