mock_provider "aws" { override_during = plan }

variables {
  package = { url = "https://example.com/causeway.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
}

run "plan" {
  command = plan
  assert {
    condition     = length(output.devices.addresses) == 3 && output.devices.port == 8883
    error_message = "devices have an address in each zone"
  }
  assert {
    condition     = length(output.link.dial) == 6
    error_message = "peers dial each core by UDP and TCP"
  }
}
