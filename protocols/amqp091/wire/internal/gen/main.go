package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
)

//go:embed spec.txt
var specText string

func main() {
	out := flag.String("o", "methods_gen.go", "file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	classes, err := parseSpec(specText)
	if err != nil {
		return err
	}
	src, err := generate(classes)
	if err != nil {
		return err
	}
	return os.WriteFile(out, src, 0o644)
}
