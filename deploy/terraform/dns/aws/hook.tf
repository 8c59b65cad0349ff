variable "endpoint" {
  description = "Route 53."
  type        = string
  default     = "https://route53.amazonaws.com"
}

output "hook" {
  description = "The program for takeover.hooks.promote: the variable hook of the regions' modules."
  value = templatefile("${path.module}/hook.sh.tftpl", {
    endpoint = var.endpoint
    checks   = { for name, c in aws_route53_health_check.region : name => c.id }
  })
}

output "policy" {
  description = "What it needs to be allowed, as a policy for the output identities of a region in AWS, or for the user of files/dns-login."
  value = jsonencode({ Version = "2012-10-17", Statement = [{
    Effect   = "Allow"
    Action   = ["route53:GetHealthCheck", "route53:UpdateHealthCheck"]
    Resource = [for c in aws_route53_health_check.region : c.arn]
  }] })
}
