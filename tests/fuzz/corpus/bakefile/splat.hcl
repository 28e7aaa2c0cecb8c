dl = [{ a = [1] }, { a = [2, 3] }]
target "default" { args = { X = join(",", flatten(l.*.a)), Y = l[1].a[0], Z = l.0.a.0, W = -(!true ? 1 : 2) } }
