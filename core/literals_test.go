package core_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A session that is made by hand may lack what its verbs use: Attach makes those of connections, VHost.session the engine's own.
func TestSessionsAreMadeInTwoPlaces(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]int{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.CompositeLit); ok {
					if id, ok := l.Type.(*ast.Ident); ok && id.Name == "Session" {
						made[f.Name.Name]++
					}
				}
				return true
			})
		}
	}
	if len(made) != 2 || made["Attach"] != 1 || made["session"] != 1 {
		t.Errorf("sessions are made in %v", made)
	}
}
