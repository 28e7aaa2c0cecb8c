dgroup "default" { targets = ["m", "g"] }
group "g" { targets = ["base"] }
target "base" { dockerfile-inline = <<-EOT
  FROM scratch
    COPY . /${upper("x")}
  EOT
}
target "m" {
  name = "m-${a}-${replace(b, ".", "_")}"
  matrix = { a = ["1", "2"], b = ["x.y", "z"] }
  inherits = ["base"]
  contexts = { base = "target:base" }
  platforms = ["linux/amd64", "linux/arm/v7"]
  output = ["type=oci,dest=${a}.tar"]
}
