target "t0" {
  inherits = ["t1", "t1"]
}
target "t1" {
  inherits = ["t2", "t2"]
}
target "t2" {
  inherits = ["t3", "t3"]
}
target "t3" {
  inherits = ["t4", "t4"]
}
target "t4" {
  inherits = ["t5", "t5"]
}
target "t5" {
  inherits = ["t6", "t6"]
}
target "t6" {
  inherits = ["t7", "t7"]
}
target "t7" {
  inherits = ["t8", "t8"]
}
target "t8" {
  inherits = ["t9", "t9"]
}
target "t9" {
  inherits = ["t10", "t10"]
}
target "t10" {
  inherits = ["t11", "t11"]
}
target "t11" {
  inherits = ["t12", "t12"]
}
target "t12" {
  inherits = ["t13", "t13"]
}
target "t13" {
  inherits = ["t14", "t14"]
}
target "t14" {
  inherits = ["t15", "t15"]
}
target "t15" {
  inherits = ["t16", "t16"]
}
target "t16" {
  inherits = ["t17", "t17"]
}
target "t17" {
  inherits = ["t18", "t18"]
}
target "t18" {
  inherits = ["t19", "t19"]
}
target "t19" {
  inherits = ["t20", "t20"]
}
target "t20" {
  inherits = ["t21", "t21"]
}
target "t21" {
  inherits = ["t22", "t22"]
}
target "t22" {
  inherits = ["t23", "t23"]
}
target "t23" {
  inherits = ["t24", "t24"]
}
target "t24" {
  policy = [{ filename = "p" }]
}
group "default" {
  targets = ["t0"]
}
