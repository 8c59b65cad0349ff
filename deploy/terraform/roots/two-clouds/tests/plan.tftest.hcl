mock_provider "aws" { override_during = plan }
mock_provider "google" { override_during = plan }

variables {
  package        = { url = "https://example.com/causeway.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  google_project = "example"
  dns            = { zone = "Z1", name = "mqtt.example.com" }
}

run "plan" {
  command = plan
  assert {
    condition     = length(module.eu.link.dial) == 6 && length(module.us.link.dial) == 6
    error_message = "both sides can be dialled"
  }
  assert {
    condition     = length(module.us.link.sources) == 4
    error_message = "a peer lets in the other's cores and its NAT"
  }
  assert {
    condition     = length(output.devices.eu.addresses) == 3 && length(output.devices.us.addresses) == 1
    error_message = "devices are told of the addresses of both balancers"
  }
}
