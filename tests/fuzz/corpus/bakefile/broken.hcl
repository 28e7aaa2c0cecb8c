dtarget "a" {
  tags = ["x"
}
target {
  b = 
}
/* open