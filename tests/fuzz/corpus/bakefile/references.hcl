da = target.b.args.X
target "a" { args = { X = target.b.tags[0], Y = { for k, v in target.b.args : k => v... } } }
target "b" {
  tags = ["b:${a}"]
  args = { X = "1", S = split(",", "a,b,c")[*] }
}
