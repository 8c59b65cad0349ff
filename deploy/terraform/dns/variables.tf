# One name for the devices of all regions: a device gets the addresses of the nearest region whose port answers. The modules
# aws, gcp and azure have this very file (a link to it); the regions may lie in any cloud.

variable "zone" {
  description = "The zone as the cloud knows it: Route 53's id, the name of Cloud DNS's managed zone, the name of Azure's zone."
  type        = string
}

variable "name" {
  description = "The devices' name: mqtt.example.com."
  type        = string
}

variable "regions" {
  description = "By name of the region: its output devices, and the region of the cloud that answers which is nearest to it."
  type        = map(object({ addresses = list(string), port = number, near = string }))
}

variable "ttl" {
  description = "Seconds for which devices may keep an answer, and so go to a region that is gone."
  type        = number
  default     = 30
}
