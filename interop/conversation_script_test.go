package interop

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// scriptFile is a file of conversations. Its lines are
//
//	# a comment
//	== name: what the conversation shows
//	A1> a method that connection A sends on channel 1; a request is waited for
//	A1 until text: a request that is repeated until its answer contains the text
//	A1 wait: for what no request of this channel asks for
//	A1 quiet: nothing comes
//	A dial: nothing is done then that does not stand here; or
//	A dial connection.tune: up to this method everything is
//	A cut: the client closes the socket
//	A1< what came of the step above from RabbitMQ
//	! the reason why Baton answers otherwise, by its name in docs/rabbitmq-differences.md
//	A1= what Baton answers
type scriptFile struct {
	path          string
	conversations []*conversation
}

type conversation struct {
	name, title string // title: the line
	steps       []*step
}

// step is a line that does something. lines are the comments above it.
type step struct {
	line   int
	lines  []string
	text   string
	peer   string
	on     uint16
	verb   string // ">", until, wait, quiet, dial or cut
	rest   string
	got    []string // from RabbitMQ
	reason string
	ours   []string
}

// want is what Baton is to answer.
func (s *step) want() []string {
	if s.reason != "" {
		return s.ours
	}
	return s.got
}

var (
	titleLine = regexp.MustCompile(`^== ([-\w]+): .+$`)
	stepLine  = regexp.MustCompile(`^([A-Z])(\d*)(> | until | wait$| quiet$| dial\b ?| cut$)(.*)$`)
	gotLine   = regexp.MustCompile(`^[A-Z]\d*[<=] `)
)

func readScript(path string) (*scriptFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &scriptFile{path: path}
	var comments []string
	for i, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		if line == "" || line[0] == '#' {
			comments = append(comments, line)
			continue
		}
		if comments, err = f.add(i+1, line, comments); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	return f, nil
}

// add takes a line that is neither empty nor a comment, and returns the comments that
// still wait for what they belong to.
func (f *scriptFile) add(n int, line string, comments []string) ([]string, error) {
	if m := titleLine.FindStringSubmatch(line); m != nil {
		f.conversations = append(f.conversations, &conversation{name: m[1], title: strings.Join(append(comments, line), "\n")})
		return nil, nil
	}
	if len(f.conversations) == 0 {
		return nil, fmt.Errorf("%q stands before the first ==", line)
	}
	c := f.conversations[len(f.conversations)-1]
	if m := stepLine.FindStringSubmatch(line); m != nil {
		s := &step{line: n, lines: comments, text: line, peer: m[1], verb: strings.TrimSpace(m[3]), rest: m[4]}
		_, _ = fmt.Sscan(m[2], &s.on)
		c.steps = append(c.steps, s)
		return nil, nil
	}
	if len(c.steps) == 0 {
		return nil, fmt.Errorf("%q stands before the first step", line)
	}
	s := c.steps[len(c.steps)-1]
	switch {
	case strings.HasPrefix(line, "! "):
		s.reason = line[2:]
	case gotLine.MatchString(line) && strings.Contains(line[:strings.Index(line, " ")], "<"):
		s.got = append(s.got, line)
	case gotLine.MatchString(line):
		s.ours = append(s.ours, strings.Replace(line, "=", "<", 1))
	default:
		return nil, fmt.Errorf("do not understand %q", line)
	}
	return comments, nil
}

// write writes the file again, with what was recorded.
func (f *scriptFile) write() error {
	var b strings.Builder
	line := func(s string) { b.WriteString(s); b.WriteByte('\n') }
	for _, c := range f.conversations {
		line(c.title)
		for _, s := range c.steps {
			for _, l := range append(s.lines, s.text) {
				line(l)
			}
			for _, l := range s.got {
				line(l)
			}
			if s.reason == "" {
				continue
			}
			line("! " + s.reason)
			for _, l := range s.ours {
				line(strings.Replace(l, "<", "=", 1))
			}
		}
	}
	return os.WriteFile(f.path, []byte(b.String()), 0o644)
}
