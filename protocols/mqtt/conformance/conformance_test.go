package conformance

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var rewrite = flag.Bool("rewrite", false, "write docs/mqtt-conformance.md instead of comparing it")

// theReport is of this repository.
func theReport(t *testing.T) *Report {
	t.Helper()
	statements, err := Statements()
	if err != nil {
		t.Fatal(err)
	}
	tags, err := Scan(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	return &Report{statements, tags}
}

// TestListsAreComplete holds the lists to the number of statements that the standards have.
func TestListsAreComplete(t *testing.T) {
	r := theReport(t)
	for standard, want := range map[Standard]int{MQTT5: 251, MQTT311: 141} {
		if got := len(r.of(standard, "")); got != want {
			t.Errorf("%s has %d statements, want %d", title(standard), got, want)
		}
		n := 0
		for _, s := range sections {
			n += len(r.of(standard, s.prefix))
		}
		if n != want {
			t.Errorf("the document has %d statements of %s, want %d", n, title(standard), want)
		}
	}
}

// Short runs are of changes that are under way, several of them at a time: what
// they do to the tags is brought together in the document when they are done.

func TestEveryStatementIsAccountedFor(t *testing.T) {
	for _, p := range theReport(t).Problems() {
		if !testing.Short() || !strings.Contains(p, unneeded) {
			t.Error(p)
		}
	}
}

func TestDocumentIsCurrent(t *testing.T) {
	const file = "../../../docs/mqtt-conformance.md"
	want := theReport(t).Document()
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(string(b), "\r\n", "\n")
	if testing.Short() {
		got, want = asked(got), asked(want)
	}
	if got != want {
		t.Error("docs/mqtt-conformance.md is not what the tags say: run go generate ./protocols/mqtt/conformance")
	}
}

// asked leaves of the document what the standards ask for.
func asked(document string) string {
	var b strings.Builder
	for line := range strings.Lines(document) {
		if fields := strings.Split(line, " | "); len(fields) >= 4 {
			b.WriteString(strings.Join(fields[:3], " | ") + "\n")
		}
	}
	return b.String()
}

func TestProblemsAreFound(t *testing.T) {
	const list = "1.1.1-1 | both | one\n1.1.1-2 | client | two"
	const obeys, shows = "package p // [MQTT-1.1.1-1]\n", "package p\nfunc TestA() { f(\"[MQTT-1.1.1-1]\") }\n"
	for _, tt := range []struct {
		name, list, code, test string
		want                   string // the only problem's beginning or end; none if empty
	}{
		{"all is well", list, obeys, shows, ""},
		{"no file", list, "package p\n", shows, "no file has its tag and no remark says why"},
		{"no test", list, obeys, "package p\n", "no test has its tag and no remark says why"},
		{"in a test file but in no test", list, obeys, "package p\n// f [MQTT-1.1.1-1]\nfunc f() {}\n", "no test has its tag and no remark says why"},
		{"above a test", list, obeys, "package p\n// [MQTT-1.1.1-1]\nfunc TestA() {}\n", ""},
		{"broken between lines of a comment", list, "package p\n// see [MQTT-1.1.1-1]\n// [MQTT-1.1.1-2].\n", shows, ""},
		{"a string of the code is no tag", list, "package p\nconst s = \"[MQTT-1.1.1-1]\"\n", shows, "no file has its tag and no remark says why"},
		{"a remark instead", "1.1.1-1 | both | one | nothing to see", "package p\n", "package p\n", ""},
		{"a remark for nothing", "1.1.1-1 | both | one | nothing to see", obeys, shows, "has a remark that it does not need: nothing to see"},
		{"a remark for a client", "1.1.1-2 | client | two | why", "package p\n", "package p\n", "has a remark that it does not need: why"},
		{"no such statement", list, obeys + "// [MQTT-9.9.9-9]\n", shows, "there is no statement [MQTT-9.9.9-9]"},
		{"nor in a test", list, obeys, shows + "var x = \"[MQTT-3.1.1 1.1.1-1]\"\nfunc TestB() { f(\"[MQTT-3.1.1 1.1.1-1]\") }\n", "there is no statement [MQTT-3.1.1 1.1.1-1]"},
		{"a misprint", list, obeys + "// [MQTT-1.1.1-2, -3]\n", shows, "p/p.go: [MQTT-1.1.1-2, -3] is no tag"},
		{"not obeyed", list, obeys + "// ![MQTT-1.1.1-1]\n", shows, "is not obeyed somewhere, and no remark says when"},
		{"not obeyed, with a remark", "1.1.1-1 | both | one | not on Sundays", obeys + "// ![MQTT-1.1.1-1]\n", shows, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			statements, err := parse(MQTT5, tt.list)
			if err != nil {
				t.Fatal(err)
			}
			tags, err := Scan(fstest.MapFS{"p/p.go": {Data: []byte(tt.code)}, "p/p_test.go": {Data: []byte(tt.test)}})
			if err != nil {
				t.Fatal(err)
			}
			got := (&Report{statements, tags}).Problems()
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasSuffix(got[0], tt.want)) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestOlderStatements: what MQTT 5.0 says as well is obeyed where that is, and shown for itself.
func TestOlderStatements(t *testing.T) {
	statements, err := parse(MQTT311, "2.2.2-2 = 1.1.1-1 | both | two")
	if err != nil {
		t.Fatal(err)
	}
	statements = append(statements, Statement{Ref: Ref{MQTT5, "1.1.1-1"}, Binds: "both"})
	tags, err := Scan(fstest.MapFS{
		"p/p.go":      {Data: []byte("package p // [MQTT-1.1.1-1]\n")},
		"p/p_test.go": {Data: []byte("package p\nfunc TestA() { f(\"[MQTT-1.1.1-1]\") }\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"[MQTT-3.1.1 2.2.2-2] binds a server, but no test has its tag and no remark says why"}
	if got := (&Report{statements, tags}).Problems(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestListsAreChecked(t *testing.T) {
	for _, list := range []string{
		"1.1.1-1 | both", "1.1.1 | both | x", "1.1.1-1 | all | x", "1.1.1-1 | both | x\n1.1.1-1 | both | x",
		"1.1.1-1 = 1.1.1-2 | both | x", "1.1.1-1 | both | x | y | z",
	} {
		if got, err := parse(MQTT5, list); err == nil {
			t.Errorf("%q is read as %v", list, got)
		}
	}
}
