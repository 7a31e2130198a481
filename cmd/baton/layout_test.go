package main

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// module is the prefix of our own import paths.
const module = "github.com/batonmq/baton"

// A rule says what the non-test files of the packages that match pkg may import.
//
// In pkg, "*" stands for one path element and a final "/..." for the folder itself and all below it. The first rule
// that matches a package is its rule; a package that none matches is a violation, so that a new folder is given its
// place here before it is given code. In allow, "std" is the standard library, "any" everything, "third-party"
// everything that is neither, a path starting with "./" a package of ours ("./*" being the part that matched pkg's
// first "*", so that a front-end is let into its own folder), and anything else a module, with all its packages.
type rule struct {
	pkg    string
	allow  []string
	reason string
}

// The list a front-end starts from: what it speaks to, and what all front-ends share.
var frontEnd = []string{"std", "./core", "./core/field", "./protocols/listen", "./protocols/outbox", "./protocols/auth", "./protocols/*/..."}

var rules = []rule{
	{"core/field", []string{"std"}, "the field types are a leaf: codecs use them without the engine"},
	{"core/storetest", []string{"std", "./core", "./core/field", "github.com/google/go-cmp", "pgregory.net/rapid"}, "the suite knows the contract and no store that keeps it"},
	{"core", []string{"std", "./core/field"}, "the engine knows no protocol, no file and no library"},

	{"persistence/failpoint", []string{"std"}, "the fail points are a leaf: the store and fail-over name theirs in it, and a released binary has none"},
	{"persistence/journal/...", []string{"std", "./core", "./core/field", "./persistence/failpoint", "./persistence/journal/...", "golang.org/x/sys"}, "the journal records what the core commits and knows no index and no protocol"},
	{"persistence/compact", []string{"std"}, "the compact containers are a leaf: the store and its index keep their keys in them"},
	{"persistence/index", []string{"std", "./core", "./core/field", "./persistence/compact", "./persistence/failpoint", "./persistence/journal", "github.com/dgraph-io/badger/v4", "github.com/cespare/xxhash/v2", "google.golang.org/protobuf", "golang.org/x/sys"}, "the index finds positions in the journal, and Badger's types do not leave it"},
	{"persistence/memstore", []string{"std", "./core", "./core/field"}, "the store of the tests is the contract and nothing else"},
	{"persistence/...", []string{"std", "./core", "./core/field", "./persistence/..."}, "the store serves core; the fence reaches it as a function"},

	{"ha/...", []string{"std", "./ha/...", "./persistence/failpoint", "golang.org/x/sys"}, "fail-over knows neither queues nor protocols"},

	{"protocols/listen", []string{"std", "./core", "./core/field", "github.com/pires/go-proxyproto", "golang.org/x/sys", "golang.org/x/time"}, "all protocols share the listeners, so they know none"},
	{"protocols/outbox", []string{"std", "./core", "./core/field"}, "all protocols share the outbox, so it knows none"},
	{"protocols/auth", []string{"std", "./core", "./core/field", "golang.org/x/crypto", "golang.org/x/sync", "github.com/dlclark/regexp2/v2", "github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset"}, "all protocols share the authenticators, so they know none"},
	{"protocols/mqtt/wire/...", []string{"std", "./core/field", "./protocols/mqtt/wire/...", "github.com/mochi-mqtt/server/v2"}, "a codec knows bytes and not the engine"},
	{"protocols/mqtt/bridge/...", []string{"std", "./core/field", "./protocols/mqtt/wire"}, "the bridge turns what the codec reads into what the engine keeps"},
	{"protocols/*/wire/...", []string{"std", "./core/field", "./protocols/*/wire/..."}, "a codec knows bytes and not the engine"},
	{"protocols/mqtt/...", append([]string{"./protocols/mqtt/...", "github.com/mochi-mqtt/server/v2", "github.com/coder/websocket"}, frontEnd...), "protocols meet in core, and mochi's types do not leave this folder"},
	{"protocols/http/...", append([]string{"./protocols/http/...", "github.com/prometheus/client_golang", "github.com/coder/websocket", "golang.org/x/sys"}, frontEnd...), "protocols meet in core; where data lies and who is primary is told to the admin port"},
	{"protocols/*/...", frontEnd, "protocols meet in core, and know neither the store nor fail-over"},

	{"cmd/baton/bench/...", []string{"std", "third-party", "./cmd/baton/bench/...", "./persistence/storebench"}, "the load generator is a client: it knows a broker by its port, and the store by what measures it"},
	{"cmd/baton", []string{"any"}, "wiring is what this package is for"},
	{"interop/...", []string{"std", "third-party", "./interop/..."}, "the interop suites know Baton as a process and a port"},
}

// confined names libraries whose types stay in one folder, whoever else is allowed everything.
var confined = []struct{ lib, folder string }{
	{"github.com/dgraph-io", "persistence/index"},
	{"github.com/mochi-mqtt", "protocols/mqtt/..."},
	{"github.com/spf13/cobra", "cmd/..."},
	{"github.com/dlclark/regexp2", "protocols/auth"},
	{"github.com/golang-jwt", "protocols/auth"},
	{"github.com/MicahParks", "protocols/auth"},
}

// topLevel is the root of the repository: each name is there, and nothing else that .gitignore does not name.
var topLevel = []string{
	"cmd", "core", "docs", "ha", "interop", "persistence", "protocols",
	"CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "README.md", "go.mod", "go.sum",
	".ci", ".dockerignore", ".editorconfig", ".gitattributes", ".gitignore", ".golangci.yml",
}

func TestLayout(t *testing.T) {
	root := os.DirFS("../..")
	pkgs, err := readPackages(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 10 {
		t.Fatalf("read %d packages; the tree has more, so the reader misses some", len(pkgs))
	}
	problems, err := checkTopLevel(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkgs {
		problems = append(problems, p.check()...)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// TestLayoutRules_AreAllUsed keeps the table honest: a rule that comes after a wider one never applies.
func TestLayoutRules_AreAllUsed(t *testing.T) {
	for i, r := range rules {
		dir := strings.ReplaceAll(strings.TrimSuffix(r.pkg, "/..."), "*", "amqp091")
		if got, _ := ruleFor(dir); got == nil || got.pkg != r.pkg {
			t.Errorf("rule %d (%s) is hidden by an earlier one", i, r.pkg)
		}
		if r.reason == "" {
			t.Errorf("rule %d (%s) gives no reason", i, r.pkg)
		}
	}
}

func TestLayoutChecker_FindsWhatIsForbidden(t *testing.T) {
	tests := []struct {
		name, file, imports string
		want                string // a part of the only problem; "" for none
	}{
		{"core and field", "core/a.go", module + "/core/field", ""},
		{"core and the standard library", "core/a.go", "encoding/binary", ""},
		{"core and a library", "core/a.go", "golang.org/x/sync/errgroup", "package core imports golang.org/x/sync/errgroup"},
		{"core and ha", "core/a.go", module + "/ha", "package core imports " + module + "/ha"},
		{"core and the test suite", "core/a.go", module + "/core/storetest", "package core imports"},
		{"core's tests are exempt", "core/a_test.go", module + "/persistence/memstore", ""},
		{"field is a leaf", "core/field/a.go", module + "/core", "package core/field imports"},
		{"a new folder of core", "core/extra/a.go", "fmt", "package core/extra has no rule"},
		{"ha and x/sys", "ha/a.go", "golang.org/x/sys/unix", ""},
		{"ha and a name that only starts like x/sys", "ha/a.go", "golang.org/x/system", "package ha imports"},
		{"ha and core", "ha/a.go", module + "/core", "package ha imports"},
		{"journal and core", "persistence/journal/a.go", module + "/core", ""},
		{"journal and index", "persistence/journal/a.go", module + "/persistence/index", "package persistence/journal imports"},
		{"store and journal", "persistence/a.go", module + "/persistence/journal", ""},
		{"fail points and what has them", "persistence/failpoint/a.go", module + "/persistence/journal", "package persistence/failpoint imports"},
		{"ha and fail points", "ha/a.go", module + "/persistence/failpoint", ""},
		{"ha and the store", "ha/a.go", module + "/persistence", "package ha imports"},
		{"store and ha", "persistence/a.go", module + "/ha", "package persistence imports"},
		{"store and badger", "persistence/a.go", "github.com/dgraph-io/badger/v4", "package persistence imports github.com/dgraph-io"},
		{"index and badger", "persistence/index/a.go", "github.com/dgraph-io/badger/v4", ""},
		{"wiring and badger", "cmd/baton/a.go", "github.com/dgraph-io/badger/v4", "stays in persistence/index"},
		{"wiring and the store", "cmd/baton/a.go", module + "/persistence", ""},
		{"front-end and core", "protocols/amqp091/a.go", module + "/core", ""},
		{"front-end and its codec", "protocols/amqp091/a.go", module + "/protocols/amqp091/wire", ""},
		{"front-end and the outbox", "protocols/amqp091/a.go", module + "/protocols/outbox", ""},
		{"front-end and another one", "protocols/amqp091/a.go", module + "/protocols/mqtt", "package protocols/amqp091 imports"},
		{"front-end and another's codec", "protocols/mqtt/bridge/a.go", module + "/protocols/amqp091/wire", "package protocols/mqtt/bridge imports"},
		{"front-end and the store", "protocols/http/a.go", module + "/persistence", "package protocols/http imports"},
		{"front-end and ha", "protocols/http/a.go", module + "/ha", "package protocols/http imports"},
		{"a front-end that is still to come", "protocols/amqp10/a.go", module + "/protocols/amqp091", "package protocols/amqp10 imports"},
		{"codec and core", "protocols/amqp091/wire/a.go", module + "/core", "package protocols/amqp091/wire imports"},
		{"codec and field", "protocols/amqp091/wire/a.go", module + "/core/field", ""},
		{"outbox and a protocol", "protocols/outbox/a.go", module + "/protocols/amqp091/wire", "package protocols/outbox imports"},
		{"authenticators and their libraries", "protocols/auth/a.go", "github.com/dlclark/regexp2/v2", ""},
		{"wiring and the engine of patterns", "cmd/baton/a.go", "github.com/dlclark/regexp2/v2", "stays in protocols/auth"},
		{"bench and the engine", "cmd/baton/bench/a.go", module + "/core", "package cmd/baton/bench imports"},
		{"interop and a client", "interop/a.go", "github.com/rabbitmq/amqp091-go", ""},
		{"interop and the engine", "interop/a.go", module + "/core", "package interop imports"},
		{"an unknown folder", "internal/a.go", "fmt", "package internal has no rule"},
		{"files for other systems are read too", "core/a_windows.go", "golang.org/x/sys/windows", "package core imports"},
		{"a nested module is not ours to judge", "cmd/tools/a.go", "example.com/linter", ""},
		{"test data is not code", "core/testdata/a.go", "example.com/x", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{
				"cmd/tools/go.mod":                   {Data: []byte("module tools")},
				path.Join(path.Dir(tt.file), docGo):  {Data: []byte("// Package x is here.\npackage x")},
				tt.file:                              {Data: []byte("package x\nimport _ " + strconv.Quote(tt.imports))},
				path.Join("core", "testdata", "x.d"): {Data: []byte("not Go")},
			}
			pkgs, err := readPackages(tree)
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			for _, p := range pkgs {
				problems = append(problems, p.check()...)
			}
			switch {
			case tt.want == "" && len(problems) > 0:
				t.Errorf("problems: %q, want none", problems)
			case tt.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], tt.want)):
				t.Errorf("problems: %q, want one with %q", problems, tt.want)
			}
		})
	}
}

func TestLayoutChecker_WantsADocFile(t *testing.T) {
	tests := []struct {
		name string
		tree fstest.MapFS
		want int
	}{
		{"with a comment", fstest.MapFS{"ha/doc.go": {Data: []byte("// Package ha is here.\npackage ha")}}, 0},
		{"without one", fstest.MapFS{"ha/doc.go": {Data: []byte("// Copyright\n\npackage ha")}}, 1},
		{"in another file", fstest.MapFS{"ha/ha.go": {Data: []byte("// Package ha is here.\npackage ha")}}, 1},
		{"also where there are tests alone", fstest.MapFS{"interop/a_test.go": {Data: []byte("package interop")}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkgs, err := readPackages(tt.tree)
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			for _, p := range pkgs {
				problems = append(problems, p.check()...)
			}
			if len(problems) != tt.want {
				t.Errorf("problems: %q, want %d", problems, tt.want)
			}
		})
	}
}

func TestLayoutChecker_KnowsTheTopLevel(t *testing.T) {
	whole := func() fstest.MapFS {
		tree := fstest.MapFS{".git/config": {}}
		for _, name := range topLevel {
			tree[name] = &fstest.MapFile{}
		}
		tree[".gitignore"] = &fstest.MapFile{Data: []byte("# local\n/baton-data/\n*.prof\n")}
		return tree
	}
	tests := []struct {
		name   string
		change func(fstest.MapFS)
		want   string
	}{
		{"as it should be", func(fstest.MapFS) {}, ""},
		{"one missing", func(f fstest.MapFS) { delete(f, "LICENSE") }, "LICENSE is missing"},
		{"one too many", func(f fstest.MapFS) { f["util/util.go"] = &fstest.MapFile{} }, "util does not belong"},
		{"what git ignores", func(f fstest.MapFS) { f["baton-data/lease"], f["cpu.prof"] = &fstest.MapFile{}, &fstest.MapFile{} }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := whole()
			tt.change(tree)
			problems, err := checkTopLevel(tree)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(problems, "; "); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problems: %q, want %q", got, tt.want)
			}
		})
	}
}

const docGo = "doc.go"

// A pkg is what the checker knows of one folder that holds Go files.
type pkg struct {
	dir        string   // from the root, slash-separated
	imports    []string // of the non-test files, for whatever system they are
	documented bool     // doc.go has a package comment
}

// readPackages parses every folder of Go files under root but nested modules, test data and hidden folders.
func readPackages(root fs.FS) ([]*pkg, error) {
	byDir := map[string]*pkg{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && isForeign(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			byDir[dir] = &pkg{dir: dir}
		}
		return byDir[dir].read(root, name)
	})
	if err != nil {
		return nil, fmt.Errorf("read the packages: %w", err)
	}
	pkgs := make([]*pkg, 0, len(byDir))
	for _, p := range byDir {
		pkgs = append(pkgs, p)
	}
	slices.SortFunc(pkgs, func(a, b *pkg) int { return cmp.Compare(a.dir, b.dir) })
	return pkgs, nil
}

// isForeign says whether the go command, too, keeps out of dir when it expands "./...".
func isForeign(root fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

// read adds one file's imports to its package.
func (p *pkg) read(root fs.FS, name string) error {
	src, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	if path.Base(name) == docGo && f.Doc != nil {
		p.documented = true
	}
	if strings.HasSuffix(name, "_test.go") {
		return nil
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if !slices.Contains(p.imports, imported) {
			p.imports = append(p.imports, imported)
		}
	}
	return nil
}

// check returns one sentence for each thing that is wrong with the package.
func (p *pkg) check() []string {
	var problems []string
	if !p.documented {
		problems = append(problems, fmt.Sprintf("package %s has no package comment in %s: say what it guarantees and what it does not", p.dir, docGo))
	}
	r, star := ruleFor(p.dir)
	if r == nil {
		return append(problems, fmt.Sprintf("package %s has no rule in this test: add one that says what it may import", p.dir))
	}
	for _, imported := range p.imports {
		if !r.allows(imported, star) {
			problems = append(problems, fmt.Sprintf("package %s imports %s: %s", p.dir, imported, r.reason))
			continue
		}
		for _, c := range confined {
			if inModule(imported, c.lib) {
				if _, ok := match(c.folder, p.dir); !ok {
					problems = append(problems, fmt.Sprintf("package %s imports %s, which stays in %s", p.dir, imported, c.folder))
				}
			}
		}
	}
	return problems
}

// ruleFor returns the first rule for dir, and what its "*" stands for there.
func ruleFor(dir string) (r *rule, star string) {
	for i := range rules {
		if star, ok := match(rules[i].pkg, dir); ok {
			return &rules[i], star
		}
	}
	return nil, ""
}

// match matches a folder with a pattern of rule.pkg.
func match(pattern, dir string) (star string, ok bool) {
	pattern, below := strings.CutSuffix(pattern, "/...")
	want, got := strings.Split(pattern, "/"), strings.Split(dir, "/")
	if len(got) < len(want) || len(got) > len(want) && !below {
		return "", false
	}
	for i, w := range want {
		switch {
		case w == "*":
			star = got[i]
		case w != got[i]:
			return "", false
		}
	}
	return star, true
}

// allows says whether the rule lets imported in.
func (r *rule) allows(imported, star string) bool {
	own := inModule(imported, module)
	first, _, _ := strings.Cut(imported, "/")
	std := !strings.Contains(first, ".")
	return slices.ContainsFunc(r.allow, func(a string) bool {
		switch {
		case a == "any":
			return true
		case a == "std":
			return std
		case a == "third-party":
			return !std && !own
		case strings.HasPrefix(a, "./"):
			_, ok := match(strings.Replace(a[2:], "*", star, 1), strings.TrimPrefix(imported, module+"/"))
			return own && ok
		default:
			return inModule(imported, a)
		}
	})
}

// inModule says whether an import path is lib or below it.
func inModule(imported, lib string) bool {
	return imported == lib || strings.HasPrefix(imported, lib+"/")
}

// checkTopLevel compares the root with topLevel.
func checkTopLevel(root fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, fmt.Errorf("read the top level: %w", err)
	}
	ignored, err := fs.ReadFile(root, ".gitignore")
	if err != nil {
		return nil, fmt.Errorf("read what git ignores: %w", err)
	}
	patterns := strings.Fields(string(ignored))
	var problems []string
	missing := slices.Clone(topLevel)
	for _, e := range entries {
		name := e.Name()
		if i := slices.Index(missing, name); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		local := slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(strings.Trim(p, "/"), name)
			return err == nil && ok
		})
		if name != ".git" && !local {
			problems = append(problems, name+" does not belong at the top level")
		}
	}
	for _, name := range missing {
		problems = append(problems, name+" is missing at the top level")
	}
	return problems, nil
}
