package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/core"
)

// importCommand takes over what other brokers know.
func importCommand(f *adminFlags) *cobra.Command {
	return nounCommand("import", "Take over users and permissions from another broker", importMosquittoCommand(f))
}

// mosquittoImport says what is to be taken over, and how.
type mosquittoImport struct {
	passwords, acl string // files
	anonymous      string // the user as which clients without a name act
	vhost          string
	replace, dry   bool
}

func importMosquittoCommand(f *adminFlags) *cobra.Command {
	var m mosquittoImport
	cmd := f.verbCommand("mosquitto", "Take over Mosquitto's users and what they may do, from its files", cobra.NoArgs,
		func(b *broker, _ []string) error { return m.run(b) })
	cmd.Long = `Take over Mosquitto's users and what they may do, from its password_file and its
acl_file. Passwords stay as they are hashed. Each user gets permissions in one
virtual host, and with --acl a topic permission at amq.topic that says what the
rules for it and those of patterns say.

All is read and looked at before anything is changed. Who runs it again changes
nothing; a user that is there already with another password or other permissions
is refused without --replace.`
	flags := cmd.Flags()
	flags.StringVar(&m.passwords, "passwords", "", "password `file`, as mosquitto_passwd writes it")
	flags.StringVar(&m.acl, "acl", "", "ACL `file`; without it users may use all topics")
	flags.StringVar(&m.anonymous, "anonymous-user", "", "`name` of the user that clients without one act as (mqtt.anonymous_user): give it what the ACL file allows them")
	flags.BoolVar(&m.replace, "replace", false, "give users that are there already what the files say in place of what they have")
	flags.BoolVar(&m.dry, "dry-run", false, "show what would be done, and do nothing")
	vhostFlag(&m.vhost, cmd)
	cmd.MarkFlagsOneRequired("passwords", "acl")
	return cmd
}

// An importedUser is a user as the files have it.
type importedUser struct {
	Name     string `json:"name"`
	Change   string `json:"change"`   // what is done about it
	Password string `json:"password"` // the form of its hash
	Write    string `json:"write"`    // patterns of its topic permission
	Read     string `json:"read"`

	hash string // empty: the files have none
}

// What is done about a user.
const (
	userAdded     = "added"
	userReplaced  = "replaced"
	userUnchanged = "unchanged"
)

// What an MQTT client needs beside its topics: its session's queue and the exchange.
const (
	importConfigure = "^mqtt-subscription-"
	importWrite     = "^(?:mqtt-subscription-|amq[.]topic$)"
	importRead      = "^amq[.]topic$"
)

func (m *mosquittoImport) run(b *broker) error {
	users, warnings, err := m.read()
	if err != nil {
		return err
	}
	for _, w := range warnings {
		b.cmd.PrintErrln("warning: " + w)
	}
	if err := b.get(apiPath("api", "vhosts", m.vhost), new(struct{})); err != nil {
		if missing(err) {
			err = fmt.Errorf("vhost '%s' does not exist", m.vhost)
		}
		return err
	}
	var taken []string
	for i := range users {
		if users[i].Change, err = m.look(b, &users[i]); err != nil {
			return err
		}
		if users[i].Change == userReplaced {
			taken = append(taken, users[i].Name)
		}
	}
	if len(taken) > 0 && !m.replace {
		return fmt.Errorf("nothing is changed: there are already with another password or other permissions: %s; --replace gives them what the files say",
			strings.Join(taken, ", "))
	}
	if !m.dry {
		for i := range users {
			if err := m.apply(b, &users[i]); err != nil {
				return fmt.Errorf("import user '%s', number %d of %d: %w", users[i].Name, i+1, len(users), err)
			}
		}
	}
	head := "CHANGE"
	if m.dry {
		head = "WOULD BE"
	}
	t := newTable("NAME", head, "PASSWORD", "WRITE", "READ")
	for _, u := range users {
		write, read := u.Write, u.Read
		if m.acl == "" {
			write, read = "-", "-"
		}
		t.row(u.Name, u.Change, u.Password, write, read)
	}
	return b.print(users, t)
}

// read returns the users of both files, and what is to be said about what cannot be
// taken over as it is. Its errors are all that is wrong with the files.
func (m *mosquittoImport) read() (users []importedUser, warnings []string, err error) {
	passwords, err := readMosquitto(m.passwords, parseMosquittoPasswords)
	acl, aclErr := readMosquitto(m.acl, parseMosquittoACL)
	if err = errors.Join(err, aclErr); err != nil {
		return nil, nil, fmt.Errorf("nothing is changed:\n%w", err)
	}
	for _, p := range passwords {
		users = append(users, importedUser{Name: p.name, Password: "mosquitto", hash: p.hash})
	}
	if m.acl == "" {
		return users, nil, nil
	}
	users, warnings = m.join(users, acl)
	var problems []error
	for i := range users {
		if err := m.rights(&users[i], acl); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, nil, fmt.Errorf("nothing is changed:\n%w", err)
	}
	return users, warnings, nil
}

func readMosquitto[T any](file string, parse func(file string, text []byte) (T, error)) (all T, err error) {
	if file == "" {
		return all, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return all, err
	}
	return parse(file, text)
}

// join adds the users that the ACL file alone has, and warns of what is not the same
// here.
func (m *mosquittoImport) join(users []importedUser, acl *mosquittoACL) (all []importedUser, warnings []string) {
	has := func(name string) bool {
		return slices.ContainsFunc(users, func(u importedUser) bool { return u.Name == name })
	}
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	for _, u := range acl.users {
		if !has(u.name) {
			users = append(users, importedUser{Name: u.name, Password: "none"})
			if m.passwords != "" {
				warn("user '%s' is in the ACL file alone: it gets no password, and can log in by certificate or token only", u.name)
			}
		}
	}
	switch {
	case m.anonymous != "":
		if !has(m.anonymous) {
			users = append(users, importedUser{Name: m.anonymous, Password: "none"})
		}
	default:
		for _, r := range acl.anonymous {
			warn("%s:%d: not imported: it is for clients without a user name; --anonymous-user names the user that they act as", m.acl, r.line)
		}
	}
	for _, r := range acl.patterns {
		warn("%s:%d: the pattern is given to the users of this import; users that are added later need a topic permission of their own", m.acl, r.line)
	}
	if acl.reads() {
		warn("%s: who subscribes to more than one rule allows is refused the subscription; with Mosquitto such a client gets that part of the messages that it may read", m.acl)
	}
	return users, warnings
}

// reads reports whether a rule lets anybody read anything.
func (a *mosquittoACL) reads() bool {
	all := slices.Concat(a.anonymous, a.patterns)
	for _, u := range a.users {
		all = append(all, u.rules...)
	}
	return slices.ContainsFunc(all, func(r aclRule) bool { return r.access&aclRead != 0 })
}

// rights gives u the patterns of its rules.
func (m *mosquittoImport) rights(u *importedUser, acl *mosquittoACL) (err error) {
	own, everybody := acl.of(u.Name), acl.patterns
	if u.Name == m.anonymous { // whose clients have no name to stand for %u
		own = slices.Concat(own, acl.anonymous)
		everybody = slices.DeleteFunc(slices.Clone(everybody), func(r aclRule) bool { return r.names(userMark) })
	}
	if u.Write, u.Read, err = aclPatterns(own, everybody); err != nil {
		return fmt.Errorf("the rules for user '%s': %w", u.Name, err)
	}
	return nil
}

// look finds out what is to be done about u.
func (m *mosquittoImport) look(b *broker, u *importedUser) (change string, err error) {
	var old adminUser
	switch err := b.get(apiPath("api", "users", u.Name), &old); {
	case missing(err):
		return userAdded, nil
	case err != nil:
		return "", err
	}
	if u.hash == "" { // the files say nothing about its password
		u.hash, u.Password = old.PasswordHash, old.password()
	}
	if old.PasswordHash != u.hash {
		return userReplaced, nil
	}
	var has adminPermission
	err = b.get(apiPath("api", "permissions", m.vhost, u.Name), &has)
	if err != nil && !missing(err) {
		return "", err
	}
	if has.Configure != importConfigure || has.Write != importWrite || has.Read != importRead {
		return userReplaced, nil
	}
	if m.acl == "" {
		return userUnchanged, nil
	}
	var topics []adminTopicPermission
	err = b.get(apiPath("api", "topic-permissions", m.vhost, u.Name), &topics)
	if err != nil && !missing(err) {
		return "", err
	}
	for _, p := range topics {
		if p.Exchange == core.TopicExchange && p.Write == u.Write && p.Read == u.Read {
			return userUnchanged, nil
		}
	}
	return userReplaced, nil
}

// apply makes the user, or gives it what the files say. Its topics are narrowed
// before it may use any.
func (m *mosquittoImport) apply(b *broker, u *importedUser) error {
	if u.Change == userUnchanged {
		return nil
	}
	body := map[string]any{"tags": []string{}, "password_hash": u.hash}
	if u.Change == userReplaced {
		old, err := b.getUser(u.Name)
		if err != nil {
			return err
		}
		body["tags"] = old.Tags
		if old.PasswordHash == u.hash {
			body["hashing_algorithm"] = old.Algorithm
		}
	}
	if err := b.put(apiPath("api", "users", u.Name), body); err != nil {
		return err
	}
	if m.acl != "" {
		topics := map[string]string{"exchange": core.TopicExchange, "write": u.Write, "read": u.Read}
		if err := b.put(apiPath("api", "topic-permissions", m.vhost, u.Name), topics); err != nil {
			return noUserOrVHost(err, u.Name, m.vhost)
		}
	}
	err := b.put(apiPath("api", "permissions", m.vhost, u.Name),
		map[string]string{"configure": importConfigure, "write": importWrite, "read": importRead})
	return noUserOrVHost(err, u.Name, m.vhost)
}
