package wire

// NewMethod lets tests make a method from its id.
var NewMethod = newMethod
