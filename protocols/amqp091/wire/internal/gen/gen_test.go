package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestCommittedFileIsUpToDate(t *testing.T) {
	classes, err := parseSpec(specText)
	if err != nil {
		t.Fatal(err)
	}
	got, err := generate(classes)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../methods_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	// A checkout on Windows may have other line ends.
	if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
		t.Error("methods_gen.go is not what spec.txt gives: run go generate in package wire")
	}
}

func TestParseSpecRefuses(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"an id that is no number", "x connection", "line 1"},
		{"an id without a name", "10 connection\n  10", "line 2: id and name"},
		{"a method without a class", "  10 start", "belongs to no class"},
		{"a field without a type", "10 c\n  10 m f", `field "f" has no known type`},
		{"an unknown type", "10 c\n  10 m f:string", `field "f:string" has no known type`},
	} {
		if _, err := parseSpec(tt.spec); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestBitsShareOctets(t *testing.T) {
	// The ninth bit of a run begins another octet (section 4.2.5.2).
	classes, err := parseSpec("10 c\n  10 m a:bit b:bit c:bit d:bit e:bit f:bit g:bit h:bit i:bit x:octet j:bit")
	if err != nil {
		t.Fatal(err)
	}
	src, err := generate(classes)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bit(m.H, 7))\n", "c.octet(0 | bit(m.I, 0))\n", "c.octet(m.X)\n", "c.octet(0 | bit(m.J, 0))\n"} {
		if !bytes.Contains(src, []byte(want)) {
			t.Errorf("generated source lacks %q", want)
		}
	}
}
