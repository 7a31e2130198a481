package main

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
)

// A page is a document of the repository, by its path there.
type page struct {
	name  string
	prose string   // without blocks of code
	code  []string // the lines of those for a shell
}

// readPages reads all that is written for people. Blocks of code are fenced, or
// indented by four.
func readPages(t *testing.T) map[string]*page {
	t.Helper()
	root := os.DirFS("../..")
	pages := make(map[string]*page)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."), entry.Name() == "testdata":
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		pages[name] = newPage(name, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 15 {
		t.Fatalf("read %d pages; there are more", len(pages))
	}
	return pages
}

func newPage(name, text string) *page {
	p := &page{name: name}
	fence := ""
	for line := range strings.Lines(text) {
		switch trimmed := strings.TrimSpace(line); {
		case strings.HasPrefix(trimmed, "```") && fence == "":
			fence = trimmed
		case strings.HasPrefix(trimmed, "```"):
			fence = ""
		case fence == "```sh" || fence == "" && strings.HasPrefix(line, "    "):
			p.code = append(p.code, trimmed)
		case fence == "":
			p.prose += line
		}
	}
	return p
}

// anchors are those that headings make, as code hosts make them.
func (p *page) anchors() []string {
	var all []string
	for line := range strings.Lines(p.prose) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			all = append(all, strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
					return unicode.ToLower(r)
				}
				return -1
			}, strings.TrimSpace(title)))
		}
	}
	return all
}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	linkTo   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	variable = regexp.MustCompile(`\bBATON_[A-Z0-9_]*[A-Z0-9]`)
)

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	pages := readPages(t)
	for _, p := range pages {
		for _, link := range linkTo.FindAllStringSubmatch(codeSpan.ReplaceAllString(p.prose, "code"), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link[1], "#")
			target := path.Join(path.Dir(p.name), file)
			if file == "" {
				target = p.name
			}
			if _, err := fs.Stat(os.DirFS("../.."), target); err != nil {
				t.Errorf("%s: no such file: %s", p.name, link[1])
			} else if anchor != "" && (pages[target] == nil || !slices.Contains(pages[target].anchors(), anchor)) {
				t.Errorf("%s: no such heading: %s", p.name, link[1])
			}
		}
	}
}

func TestDocs_IndexNamesEveryPage(t *testing.T) {
	pages := readPages(t)
	index := pages["docs/README.md"]
	for name := range pages {
		if file, inManual := strings.CutPrefix(name, "docs/"); inManual && name != index.name && !strings.Contains(index.prose, "("+file+")") {
			t.Errorf("%s does not name %s", index.name, file)
		}
	}
}

func TestDocs_SettingsExist(t *testing.T) {
	keys, sections := []string{"store.id"}, make(map[string]bool) // store.id is a file
	envs := []string{                                             // of commands, and of the tests
		envConfig, "BATON_ADMIN_PASSWORD", "BATON_USER_PASSWORD", "BATON_INTEROP_URL", "BATON_INTEROP_MQTT", "BATON_INTEROP_WS",
		"BATON_INTEROP_BINARY", "BATON_INTEROP_SEED",
	}
	for _, s := range append(settings(), bridgeRows("NAME")...) {
		section, _, _ := strings.Cut(s.key, ".")
		keys, sections[section] = append(keys, s.key), true
		envs = append(envs, s.env())
	}
	key := regexp.MustCompile(`^([a-z_]+)\.[a-zA-Z_]+(\.[a-z_]+)*$`)
	for _, p := range readPages(t) {
		for _, span := range codeSpan.FindAllStringSubmatch(p.prose, -1) {
			name := strings.TrimSpace(strings.FieldsFunc(span[1]+" ", func(r rune) bool { return r == '=' || r == ':' })[0])
			if m := key.FindStringSubmatch(name); m != nil && sections[m[1]] && !slices.Contains(keys, name) && name != "bridges.NAME" {
				t.Errorf("%s names a setting that does not exist: %s", p.name, name)
			}
		}
		for _, name := range variable.FindAllString(p.prose+strings.Join(p.code, "\n"), -1) {
			if !slices.Contains(envs, name) && !strings.HasPrefix(name, "BATON_BRIDGES_") {
				t.Errorf("%s names a variable that does not exist: %s", p.name, name)
			}
		}
	}
}

func TestDocs_CommandsExist(t *testing.T) {
	seen := 0
	for _, p := range readPages(t) {
		lines := slices.Clone(p.code)
		for _, span := range codeSpan.FindAllStringSubmatch(p.prose, -1) {
			lines = append(lines, span[1])
		}
		for _, line := range lines {
			args := batonArgs(line)
			if args == nil {
				continue
			}
			seen++
			root, _ := (&program{}).rootCommand()
			root.InitDefaultCompletionCmd() // as Execute does
			if problem := checkCommand(root, args); problem != "" {
				t.Errorf("%s: %s: %s", p.name, line, problem)
			}
		}
	}
	if seen < 50 {
		t.Errorf("found %d commands; there are more", seen)
	}
}

// batonArgs returns the arguments of a command line that calls baton, else nil. What a
// shell would take for itself ends it, as do the alternatives of a synopsis.
func batonArgs(line string) []string {
	line, _, _ = strings.Cut(line, " #")
	words := strings.Fields(line)
	for i, word := range words {
		switch {
		case strings.Contains(word, "=") && !strings.HasPrefix(word, "-"): // a variable
		case word == "baton" || word == "./baton":
			words = words[i+1:]
			if end := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "|&;><\\…") }); end >= 0 {
				words = words[:max(0, end)]
				if end < len(words)+1 && len(words) > 0 && !strings.HasPrefix(words[len(words)-1], "-") && strings.Contains(line, " | ") {
					words = words[:len(words)-1] // the first of some alternatives
				}
			}
			return words
		default:
			return nil
		}
	}
	return nil
}

// checkCommand says what is wrong with a call.
func checkCommand(root *cobra.Command, args []string) string {
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err.Error()
	}
	cmd.InitDefaultHelpFlag()
	for _, arg := range rest {
		name, isFlag := strings.CutPrefix(strings.Trim(arg, "[]"), "--")
		name, _, _ = strings.Cut(name, "=")
		switch {
		case isFlag && cmd.Flag(name) == nil:
			return "no such flag: --" + name
		case !isFlag && cmd.HasSubCommands() && arg == rest[0]:
			return "no such command: " + arg
		}
	}
	return ""
}

func TestDocsChecker_FindsWhatIsWrong(t *testing.T) {
	tests := []struct{ line, want string }{
		{"baton ha status --data /srv/baton", ""},
		{"BATON_DATA=/srv ./baton serve --ha  # a pair", ""},
		{"baton user | vhost list", ""},
		{"baton ha stats", "no such command: stats"},
		{"baton ha status --dir /srv", "no such flag: --dir"},
		{"baton queue browse dead", ""},
		{"baton no-such-thing", "no such command: no-such-thing"},
	}
	for _, tt := range tests {
		root, _ := (&program{}).rootCommand()
		root.InitDefaultCompletionCmd() // as Execute does
		if got := checkCommand(root, batonArgs(tt.line)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.line, got, tt.want)
		}
	}
	if args := batonArgs("rabbitmqctl list_users"); args != nil {
		t.Errorf("a call of another program is taken for one of ours: %q", args)
	}
	if got := newPage("x.md", "# It's a page\n## `serve`, and more\n").anchors(); !slices.Equal(got, []string{"its-a-page", "serve-and-more"}) {
		t.Errorf("anchors %q", got)
	}
}
