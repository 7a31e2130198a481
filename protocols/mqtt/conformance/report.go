package conformance

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Report holds the statements against the tags.
type Report struct {
	Statements []Statement
	Tags       *Tags
}

// obeyed returns the files that obey a statement.
func (r *Report) obeyed(s *Statement) []string {
	files := r.Tags.Obeyed[s.Ref]
	if s.Same != "" {
		files = slices.Concat(files, r.Tags.Obeyed[Ref{MQTT5, s.Same}])
		slices.Sort(files)
		files = slices.Compact(files)
	}
	return files
}

// disobeyed returns the files that say what they do not obey.
func (r *Report) disobeyed(s *Statement) []string {
	if s.Same != "" {
		return slices.Concat(r.Tags.Disobeyed[s.Ref], r.Tags.Disobeyed[Ref{MQTT5, s.Same}])
	}
	return r.Tags.Disobeyed[s.Ref]
}

// Problems returns what is wrong with the tags and the lists, a line each.
func (r *Report) Problems() []string {
	problems := slices.Clone(r.Tags.Wrong)
	known := map[Ref]bool{}
	for _, s := range r.Statements {
		known[s.Ref] = true
	}
	for _, tags := range []map[Ref][]string{r.Tags.Obeyed, r.Tags.Disobeyed, r.Tags.Shown} {
		for ref, where := range tags {
			if !known[ref] {
				problems = append(problems, fmt.Sprintf("%s: there is no statement %s", strings.Join(where, ", "), ref))
			}
		}
	}
	for _, s := range r.Statements {
		if p := r.problem(&s, known); p != "" {
			problems = append(problems, s.String()+" "+p)
		}
	}
	slices.Sort(problems)
	return problems
}

const unneeded = "has a remark that it does not need: "

// problem returns what is wrong with one statement.
func (r *Report) problem(s *Statement, known map[Ref]bool) string {
	obeyed, shown, denied := len(r.obeyed(s)) > 0, len(r.Tags.Shown[s.Ref]) > 0, len(r.disobeyed(s)) > 0
	switch {
	case s.Same != "" && !known[Ref{MQTT5, s.Same}]:
		return "is the same as one that MQTT 5.0 does not have"
	case s.Remark == "" && denied:
		return "is not obeyed somewhere, and no remark says when"
	case s.Remark == "" && s.server() && !obeyed:
		return "binds a server, but no file has its tag and no remark says why"
	case s.Remark == "" && s.server() && !shown:
		return "binds a server, but no test has its tag and no remark says why"
	case s.Remark != "" && !denied && (obeyed && shown || !s.server()):
		return unneeded + s.Remark
	}
	return ""
}

// sections are the titles of the document, by how the ids below them begin.
var sections = []struct{ prefix, title string }{
	{"1.", "Data representation"},
	{"2.", "Packet format"},
	{"3.1.", "CONNECT"},
	{"3.2.", "CONNACK"},
	{"3.3.", "PUBLISH"},
	{"3.4.", "PUBACK"},
	{"3.5.", "PUBREC"},
	{"3.6.", "PUBREL"},
	{"3.7.", "PUBCOMP"},
	{"3.8.", "SUBSCRIBE"},
	{"3.9.", "SUBACK"},
	{"3.10.", "UNSUBSCRIBE"},
	{"3.11.", "UNSUBACK"},
	{"3.12.", "PINGREQ"},
	{"3.14.", "DISCONNECT"},
	{"3.15.", "AUTH"},
	{"4.", "Operational behavior"},
	{"6.", "WebSocket"},
	{"7.", "Conformance"},
}

const preface = `# Conformance to MQTT

<!-- Written by go generate ./protocols/mqtt/conformance from the tags in the source; edit those. -->

Every normative statement of MQTT 5.0 and of MQTT 3.1.1, by its number in appendix B of the
standard, with what it asks for in our words. *Both* are bound by what a client must send
and a server must refuse otherwise, too. *Where* names the files that obey it, below
the root of the repository; *shown by* the tests. What follows a dash is a remark: why no
file or no test can be named, or what is not obeyed.
`

// Document returns docs/mqtt-conformance.md.
func (r *Report) Document() string {
	var b strings.Builder
	b.WriteString(preface)
	b.WriteString("\n| | statements | bind a server | with a test | with exceptions |\n|---|---|---|---|---|\n")
	for _, standard := range []Standard{MQTT5, MQTT311} {
		var all, server, shown, denied int
		for _, s := range r.of(standard, "") {
			all++
			if !s.server() {
				continue
			}
			server++
			if len(r.Tags.Shown[s.Ref]) > 0 {
				shown++
			}
			if len(r.disobeyed(&s)) > 0 {
				denied++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", title(standard), all, server, shown, denied)
	}
	for _, standard := range []Standard{MQTT5, MQTT311} {
		fmt.Fprintf(&b, "\n## %s\n", title(standard))
		for _, section := range sections {
			list := r.of(standard, section.prefix)
			if len(list) == 0 {
				continue
			}
			fmt.Fprintf(&b, "\n### %s %s\n\n| | binds | asks for | where | shown by |\n|---|---|---|---|---|\n", strings.TrimSuffix(section.prefix, "."), section.title)
			for _, s := range list {
				b.WriteString(r.row(&s))
			}
		}
	}
	return b.String()
}

func title(standard Standard) string {
	if standard == MQTT5 {
		return "MQTT 5.0"
	}
	return "MQTT " + string(standard)
}

// of returns the statements of a standard whose ids begin so.
func (r *Report) of(standard Standard, prefix string) []Statement {
	var list []Statement
	for _, s := range r.Statements {
		if s.Standard == standard && strings.HasPrefix(s.ID, prefix) {
			list = append(list, s)
		}
	}
	return list
}

// row returns the line of a statement.
func (r *Report) row(s *Statement) string {
	var files []string
	for _, f := range r.obeyed(s) {
		files = append(files, "`"+shorter(f)+"`")
	}
	var tests []string
	for _, t := range r.Tags.Shown[s.Ref] {
		_, name, _ := strings.Cut(t, ".")
		tests = append(tests, "`"+name+"`")
	}
	slices.Sort(tests)
	shown := strings.Join(slices.Compact(tests), ", ")
	if s.Remark != "" {
		shown = strings.TrimSpace(shown + " – " + s.Remark)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", s.ID, s.Binds, escape(s.Summary), strings.Join(files, ", "), escape(shown))
}

// shorter leaves out the folder that most files are in.
func shorter(file string) string {
	if rest, ok := strings.CutPrefix(file, "protocols/mqtt/"); ok {
		return path.Join("mqtt", rest)
	}
	return file
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
