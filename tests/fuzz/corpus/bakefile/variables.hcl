dvariable "TAG" { default = "dev" }
variable "N" {
  type = number
  default = 3
  validation {
    condition = N > 1
    error_message = "more than one, not ${N}"
  }
}
variable "L" { default = ["a", "b", null] }
target "default" {
  tags = [for x in L : "app:${x}-${TAG}" if x != null]
  args = { N = N * 2 + 1, M = upper(TAG) == "DEV" ? 1 : "2" }
}
