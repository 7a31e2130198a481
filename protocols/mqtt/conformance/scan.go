package conformance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Tags is what the tags of a tree say.
type Tags struct {
	Obeyed    map[Ref][]string // the files, by their paths
	Disobeyed map[Ref][]string
	Shown     map[Ref][]string // the functions, as "folder.TestName"
	Wrong     []string         // what looks like a tag and is none, with its place
}

// example is how package comments show what a tag of MQTT 3.1.1 is.
const example = "[MQTT-3.1.1 x.y.z-n]"

var (
	tagForm = regexp.MustCompile(`(!?)\[MQTT-(?:(3\.1\.1) )?(\d+(?:\.\d+){2}-\d+)\]`)
	tagLike = regexp.MustCompile(`\[MQTT-[0-9][^\]\n]*\]?`)
)

// Scan reads the tags of the Go files of a tree, except in hidden folders, those
// named testdata, and this one.
func Scan(tree fs.FS) (*Tags, error) {
	tags := &Tags{Obeyed: map[Ref][]string{}, Disobeyed: map[Ref][]string{}, Shown: map[Ref][]string{}}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "protocols/mqtt/conformance"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if !strings.Contains(string(src), "[MQTT-") {
			return nil
		}
		return tags.add(name, src)
	})
	if err != nil {
		return nil, fmt.Errorf("scan the tree for tags: %w", err)
	}
	for _, m := range []map[Ref][]string{tags.Obeyed, tags.Disobeyed, tags.Shown} {
		for ref := range m {
			slices.Sort(m[ref])
			m[ref] = slices.Compact(m[ref])
		}
	}
	return tags, nil
}

// add reads the tags of a file.
func (t *Tags) add(name string, src []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	note := func(into map[Ref][]string, text, value string) {
		for _, m := range tagForm.FindAllStringSubmatch(text, -1) {
			ref := Ref{Standard(m[2]), m[3]}
			if m[1] != "" {
				t.Disobeyed[ref] = append(t.Disobeyed[ref], name)
			} else if into != nil {
				into[ref] = append(into[ref], value)
			}
		}
		for _, like := range tagLike.FindAllString(tagForm.ReplaceAllString(strings.ReplaceAll(text, example, ""), ""), -1) {
			t.Wrong = append(t.Wrong, fmt.Sprintf("%s: %s is no tag", name, like))
		}
	}
	if !strings.HasSuffix(name, "_test.go") {
		into := t.Obeyed
		if path.Base(name) == "doc.go" {
			into = nil // nothing is obeyed in prose
		}
		for _, group := range file.Comments {
			note(into, lines(group), name)
		}
		return nil
	}
	tests := testsOf(file)
	place := func(at token.Pos) (into map[Ref][]string, value string) {
		for _, f := range tests {
			if f.from <= at && at < f.to {
				return t.Shown, path.Base(path.Dir(name)) + "." + f.name
			}
		}
		return nil, ""
	}
	for _, group := range file.Comments {
		into, value := place(group.Pos())
		note(into, lines(group), value)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
			into, value := place(s.Pos())
			note(into, s.Value, value)
		}
		return true
	})
	return nil
}

// lines is the text of comments as it stands, with what was broken between lines joined: a tag may be.
func lines(group *ast.CommentGroup) string {
	var b strings.Builder
	for _, c := range group.List {
		b.WriteString(strings.TrimPrefix(c.Text, "//"))
	}
	return b.String()
}

// A testFunc is a Test or Fuzz function and the comment above it.
type testFunc struct {
	name     string
	from, to token.Pos
}

func testsOf(file *ast.File) []testFunc {
	var list []testFunc
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") {
			continue
		}
		from := f.Pos()
		if f.Doc != nil {
			from = f.Doc.Pos()
		}
		list = append(list, testFunc{f.Name.Name, from, f.End()})
	}
	return list
}
