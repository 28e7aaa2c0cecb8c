v0 = "ab"
v1 = "${v0}${v0}"
v2 = "${v1}${v1}"
v3 = "${v2}${v2}"
v4 = "${v3}${v3}"
v5 = "${v4}${v4}"
v6 = "${v5}${v5}"
v7 = "${v6}${v6}"
v8 = "${v7}${v7}"
v9 = "${v8}${v8}"
v10 = "${v9}${v9}"
v11 = "${v10}${v10}"
v12 = "${v11}${v11}"
target "default" {
  args = { A = replace(v12, "", v12) }
}
a = split("", v12)
b = regexall("((((.))))", v12)
c = setproduct(a, [1], [2])
d = format("%[1]9999s%[1]9999s", v12)
e = indent(1000, replace(v12, "a", "\n"))
f = csvdecode("${v12}\n1\n2\n")
