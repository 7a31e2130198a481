package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/batonmq/baton/protocols/auth"
)

// mosquittoUser is a line of a password file.
type mosquittoUser struct{ name, hash string }

// aclAccess is what a rule of an ACL file is about.
type aclAccess uint8

const (
	aclRead aclAccess = 1 << iota
	aclWrite

	aclDeny aclAccess = 0
)

// aclRule is a line of an ACL file that names a filter.
type aclRule struct {
	line   int
	access aclAccess
	words  []string // of the filter's binding pattern; marks stand for variables
}

// names reports whether the rule has the variable that a mark stands for.
func (r *aclRule) names(mark string) bool {
	return slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(w, mark) })
}

// mosquittoACL is an ACL file.
type mosquittoACL struct {
	anonymous []aclRule // for clients without a user name
	users     []aclUser // in the order in which they come
	patterns  []aclRule // for everybody
}

type aclUser struct {
	name  string
	rules []aclRule
}

// of returns the rules of a user.
func (a *mosquittoACL) of(name string) []aclRule {
	if i := a.index(name); i >= 0 {
		return a.users[i].rules
	}
	return nil
}

func (a *mosquittoACL) index(name string) int {
	for i := range a.users {
		if a.users[i].name == name {
			return i
		}
	}
	return -1
}

// A lineError says what is wrong with a line of a file.
type lineError struct {
	file string
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.file, e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// eachLine gives f every line that says something, without the blanks around it, and
// returns what f has found wrong, of all of them.
func eachLine(file string, text []byte, f func(n int, line string) error) error {
	var problems []error
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(nil, len(text)+1)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := f(n, line); err != nil {
			problems = append(problems, &lineError{file, n, err})
		}
	}
	return errors.Join(append(problems, scan.Err())...)
}

// parseMosquittoPasswords reads what mosquitto_passwd writes. Its errors contain no
// hash, and no password where there is one in its place.
func parseMosquittoPasswords(file string, text []byte) ([]mosquittoUser, error) {
	var users []mosquittoUser
	seen := map[string]bool{}
	err := eachLine(file, text, func(_ int, line string) error {
		name, hash, ok := strings.Cut(line, ":")
		switch name, hash = strings.TrimSpace(name), strings.TrimSpace(hash); {
		case !ok || name == "":
			return errors.New("is not NAME:HASH")
		case seen[name]:
			return fmt.Errorf("user '%s' is there already", name)
		case !strings.HasPrefix(hash, "$"):
			return fmt.Errorf("the password of user '%s' is not hashed: run mosquitto_passwd -U on the file", name)
		default:
			seen[name] = true
			users = append(users, mosquittoUser{name, hash})
			if err := auth.CheckHash(hash); err != nil {
				return fmt.Errorf("user '%s': %w", name, err)
			}
		}
		return nil
	})
	return users, err
}

// parseMosquittoACL reads an ACL file.
func parseMosquittoACL(file string, text []byte) (*mosquittoACL, error) {
	a := new(mosquittoACL)
	rules := &a.anonymous
	err := eachLine(file, text, func(n int, line string) error {
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch word {
		case "user":
			if rest == "" {
				return errors.New("names no user")
			}
			rules = a.section(rest)
			return nil
		case "topic", "pattern":
			to, variables := rules, word == "pattern"
			if variables { // for everybody, in whatever section it is
				to = &a.patterns
			}
			rule, err := parseACLRule(n, rest, variables)
			if err == nil {
				*to = append(*to, rule)
			}
			return err
		}
		return fmt.Errorf("%q is none of user, topic and pattern", word)
	})
	return a, err
}

// section returns the rules of a user, who may have several sections.
func (a *mosquittoACL) section(user string) *[]aclRule {
	i := a.index(user)
	if i < 0 {
		i = len(a.users)
		a.users = append(a.users, aclUser{name: user})
	}
	return &a.users[i].rules
}

// parseACLRule reads "[read|write|readwrite|deny] FILTER". As with Mosquitto a
// filter with a blank in it needs the word before it.
func parseACLRule(n int, text string, variables bool) (r aclRule, err error) {
	if text == "" {
		return r, errors.New("names no topic")
	}
	r = aclRule{line: n, access: aclRead | aclWrite}
	filter := text
	if access, rest, ok := strings.Cut(text, " "); ok {
		switch access {
		case "read":
			r.access = aclRead
		case "write":
			r.access = aclWrite
		case "readwrite":
		case "deny":
			r.access = aclDeny
		default:
			return r, fmt.Errorf("%q is none of read, write, readwrite and deny", access)
		}
		filter = strings.TrimSpace(rest)
	}
	r.words, err = filterWords(filter, variables)
	return r, err
}
