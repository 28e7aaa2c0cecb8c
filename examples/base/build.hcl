# The base image of the examples, built from nothing. tests/base-images puts the archives beside this file.
variable "REGISTRY" {
  description = "Where the image goes"
  default     = "127.0.0.1:5000"
}

target "busybox" {
  tags      = ["${REGISTRY}/base/busybox:1.35"]
  platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
}
