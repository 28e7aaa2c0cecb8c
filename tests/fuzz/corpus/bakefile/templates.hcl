dx = "%{ for i, v in [1, 2] ~}${i}=${v} %{ endfor }%{ if true }yes%{ else }no%{ endif } $${no} %%{no} \u00e9\"\\"
target "default" { args = { X = x, Y = <<EOT
  a ${"b"}
    c
EOT
} }
