package conformance

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

// Standard is a version of MQTT that numbers its statements.
type Standard string

// The standards, by the names that tags have for them: MQTT 5.0 needs none.
const (
	MQTT5   Standard = ""
	MQTT311 Standard = "3.1.1"
)

// Ref names a statement.
type Ref struct {
	Standard Standard
	ID       string // "3.8.4-1"
}

// String returns the tag.
func (r Ref) String() string {
	if r.Standard == MQTT5 {
		return "[MQTT-" + r.ID + "]"
	}
	return "[MQTT-" + string(r.Standard) + " " + r.ID + "]"
}

// Statement is a normative statement.
type Statement struct {
	Ref

	Binds   string // "server", "client" or "both"
	Summary string
	Same    string // the id of the same statement in MQTT 5.0, of one of MQTT 3.1.1
	Remark  string // why no file or no test has a tag for it, or what is not obeyed
}

// server reports whether the statement binds a server.
func (s *Statement) server() bool { return s.Binds != "client" }

//go:embed mqtt5.txt
var mqtt5 string

//go:embed mqtt311.txt
var mqtt311 string

// Statements returns the statements of both standards, in their order.
func Statements() ([]Statement, error) {
	list, err := parse(MQTT5, mqtt5)
	if err != nil {
		return nil, fmt.Errorf("read mqtt5.txt: %w", err)
	}
	old, err := parse(MQTT311, mqtt311)
	if err != nil {
		return nil, fmt.Errorf("read mqtt311.txt: %w", err)
	}
	return append(list, old...), nil
}

var idForm = regexp.MustCompile(`^\d+(\.\d+){2}-\d+$`)

// parse reads a list. A line is
//
//	id = id in MQTT 5.0 | whom it binds | summary | remark
//
// without the equation where there is none, and without the last bar where
// nothing is to be remarked. Lines that begin with # are comments.
func parse(standard Standard, text string) ([]Statement, error) {
	var list []Statement
	seen := map[string]bool{}
	for n, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) < 3 || len(fields) > 4 {
			return nil, fmt.Errorf("line %d has %d fields, want 3 or 4", n+1, len(fields))
		}
		id, same, equal := strings.Cut(fields[0], " = ")
		s := Statement{Ref: Ref{standard, id}, Binds: fields[1], Summary: fields[2], Same: same}
		if len(fields) == 4 {
			s.Remark = fields[3]
		}
		switch {
		case !idForm.MatchString(id), equal && (standard == MQTT5 || !idForm.MatchString(same)):
			return nil, fmt.Errorf("line %d has no id, or one that is none: %q", n+1, fields[0])
		case s.Binds != "server" && s.Binds != "client" && s.Binds != "both":
			return nil, fmt.Errorf("line %d binds %q, want server, client or both", n+1, s.Binds)
		case seen[id]:
			return nil, fmt.Errorf("line %d has %s for the second time", n+1, id)
		}
		seen[id] = true
		list = append(list, s)
	}
	return list, nil
}
