mock_provider "google" { override_during = plan }

override_resource {
  target          = google_dns_record_set.devices
  override_during = plan
  values          = { project = "example" }
}

variables {
  zone = "devices"
  name = "mqtt.example.com"
  regions = {
    eu = { addresses = ["192.0.2.1", "192.0.2.2"], port = 8883, near = "europe-west3" }
    us = { addresses = ["192.0.2.3"], port = 8883, near = "us-east1" }
  }
}

run "hook" {
  command = plan
  assert {
    condition     = strcontains(output.hook, "\neu) item='{\"healthCheckedTargets\":{\"externalEndpoints\":[\"192.0.2.1\",\"192.0.2.2\"]},\"location\":\"europe-west3\"}' ;;\n")
    error_message = "the hook knows what each region has in the name"
  }
  assert {
    condition     = strcontains(output.hook, "zone='https://dns.googleapis.com/dns/v1/projects/example/managedZones/devices'\n") && strcontains(output.hook, "rrsets/mqtt.example.com./A")
    error_message = "the hook asks for the devices' name"
  }
}
