mock_provider "azurerm" { override_during = plan }

override_resource {
  target          = azurerm_traffic_manager_profile.devices
  override_during = plan
  values          = { id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/names/providers/Microsoft.Network/trafficManagerProfiles/devices" }
}

override_resource {
  target          = azurerm_traffic_manager_external_endpoint.address["eu-0"]
  override_during = plan
  values          = { id = "/profile/eu-0" }
}

override_resource {
  target          = azurerm_traffic_manager_external_endpoint.address["eu-1"]
  override_during = plan
  values          = { id = "/profile/eu-1" }
}

override_resource {
  target          = azurerm_traffic_manager_external_endpoint.address["us-0"]
  override_during = plan
  values          = { id = "/profile/us-0" }
}

variables {
  resource_group = "names"
  zone           = "example.com"
  name           = "mqtt.example.com"
  regions = {
    eu = { addresses = ["192.0.2.1", "192.0.2.2"], port = 8883, near = "germanywestcentral" }
    us = { addresses = ["192.0.2.3"], port = 8883, near = "eastus" }
  }
}

run "hook" {
  command = plan
  assert {
    condition     = strcontains(output.hook, "\neu) ids='/profile/eu-0 /profile/eu-1' ;;\nus) ids='/profile/us-0' ;;\n")
    error_message = "the hook knows the endpoints of each region"
  }
  assert {
    condition     = endswith(output.profile, "/trafficManagerProfiles/devices")
    error_message = "the role is for the profile and nothing else"
  }
}
