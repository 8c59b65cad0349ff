mock_provider "aws" { override_during = plan }

override_resource {
  target          = aws_route53_health_check.region["eu"]
  override_during = plan
  values          = { id = "check-eu", arn = "arn:aws:route53:::healthcheck/check-eu" }
}

override_resource {
  target          = aws_route53_health_check.region["us"]
  override_during = plan
  values          = { id = "check-us", arn = "arn:aws:route53:::healthcheck/check-us" }
}

variables {
  zone = "Z1"
  name = "mqtt.example.com"
  regions = {
    eu = { addresses = ["192.0.2.1", "192.0.2.2"], port = 8883, near = "eu-central-1" }
    us = { addresses = ["192.0.2.3"], port = 8883, near = "us-east-1" }
  }
}

run "hook" {
  command = plan
  assert {
    condition     = strcontains(output.hook, "\neu) check=check-eu ;;\nus) check=check-us ;;\n")
    error_message = "the hook knows the health check of each region"
  }
  assert {
    condition     = jsondecode(output.policy).Statement[0].Resource == ["arn:aws:route53:::healthcheck/check-eu", "arn:aws:route53:::healthcheck/check-us"]
    error_message = "the policy is for these checks and no others"
  }
  assert {
    condition     = length(aws_route53_health_check.address) == 3
    error_message = "each address is looked at"
  }
}
