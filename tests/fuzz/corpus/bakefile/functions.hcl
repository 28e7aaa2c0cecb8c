dfunction "f" {
  params = [a]
  variadic_params = rest
  result = length(rest) == 0 ? a : "${a}-${join("-", rest)}"
}
function "g" {
  params = [n]
  result = n <= 0 ? 0 : n % 7 + f(n - 1)
}
target "default" {
  args = {
    A = f("x", "y", "z")
    B = try(tonumber("x"), can(1 / 0), 7)
    C = formatdate("YYYY-MM-DD", "2020-02-03T04:05:06Z")
    D = format("%05.2f %-8s %q %v", 3.14159, "ab", "q", [1, { a = 2 }])
    E = regex_replace("aaa", "(a)", "b$1")
    F = jsonencode(setproduct(["a"], [1, 2]))
    G = cidrsubnet("10.0.0.0/8", 8, 2)
    H = base64encode(sha512("x"))
    I = csvdecode("a,b\n1,2")[0].b
  }
}
