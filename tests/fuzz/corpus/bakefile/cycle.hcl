da = b
b = c
c = a
target "x" { inherits = ["y"] }
target "y" { inherits = ["x"] }
group "p" { targets = ["q"] }
group "q" { targets = ["p"] }
