// Command gen writes the method structs of package wire and their plain codec from the table in spec.txt.
//
// It guarantees the same output for the same table, which a test compares with the committed file. It does not judge the table: what
// the specification says of each method is for the reader of spec.txt to check.
package main
