variable "REGISTRY" {
  description = "Where base images come from and results go"
  default     = "127.0.0.1:5000"
}

variable "TAG" {
  description = "Tag of every image"
  default     = "dev"
}

# `bake build` without a name builds this group; `bake build all` builds every target in the file.
group "default" {
  targets = ["hello"]
}

# What every image here has in common. It is only inherited: the file's own "all" below leaves it out.
target "_common" {
  args      = { REGISTRY = REGISTRY }
  platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
  labels    = { "org.opencontainers.image.version" = TAG }
}

group "all" {
  targets = ["hello", "tool"]
}

target "hello" {
  inherits = ["_common"]
  tags     = ["${REGISTRY}/hello:${TAG}"]
}

# Its work is done once, on the machine's own platform, and copied into all three images.
target "tool" {
  inherits   = ["_common"]
  dockerfile = "tool.Dockerfile"
  tags       = ["${REGISTRY}/tool:${TAG}"]
}
