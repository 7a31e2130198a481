package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
)

// rightsOf returns what decides about a user's topics once an ACL file is imported.
func rightsOf(t *testing.T, user, client, acl string) (allows func(right core.Right, key string) bool) {
	t.Helper()
	a, err := parseMosquittoACL("acl", []byte(acl))
	if err != nil {
		t.Fatal(err)
	}
	write, read, err := aclPatterns(a.of(user), a.patterns)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := auth.NewAccounts(auth.AccountsOptions{Users: &oneUser{name: user, write: write, read: read}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := accounts.Principal(user, nil)
	if err != nil {
		t.Fatal(err)
	}
	access := p.Access(auth.Variables{ClientID: client, Word: bridge.Word})
	return func(right core.Right, key string) bool {
		return access.Allow(core.Request{Class: core.TopicClass, Right: right, VHost: "/", Name: core.TopicExchange, Key: key}) == nil
	}
}

// oneUser are the records of one who has a topic permission.
type oneUser struct{ name, write, read string }

func (u *oneUser) Generation() uint64 { return 1 }
func (u *oneUser) User(name string) (core.User, bool) {
	return core.User{Name: name}, name == u.name
}

func (u *oneUser) Permission(_, _ string) (core.Permission, bool) { return core.Permission{}, false }

func (u *oneUser) TopicPermission(_, _, _ string) (core.TopicPermission, bool) {
	return core.TopicPermission{Write: u.write, Read: u.read}, true
}
func (u *oneUser) HasTopicPermissions(_, _ string) bool { return true }

func TestImportMosquitto_ACLDecidesAsMosquittoDoes(t *testing.T) {
	const acl = `
topic anonymous/#
user joe
topic a/b
topic read r/+/s
topic write w/#
topic readwrite with blanks/and.dot
topic both/+/x/#
topic deny both/secret/#
user ann
topic readwrite #
user bob
topic +/up
user joe
topic again
user joe@example.com
pattern write dev/%c/up
pattern read who/%u/#
pattern in-%c-word/%u.x
pattern deny dev/%c/up/never
`
	for _, tt := range []struct {
		user, client, publish, subscribe string // topics and filters; those with ! are refused
	}{
		{
			"joe", "c1",
			"a/b w w/x w/x/y/z dev/c1/up again both/1/x both/1/x/y/z !both/secret/x !r/1/s !a !a/b/c !anonymous/x !dev/c2/up !dev/c1 !who/joe !$SYS/x",
			"a/b r/1/s r/+/s who/joe who/joe/# who/joe/x/+ again both/1/x/# !both/+/x !both/secret/x !both/# !r/# !r/1/# !w/x !a/+ !a/# !# !+/b !who/ann/# !who/+/x !dev/c1/up",
		},
		{"ann", "c", "x /x a/b/c dev/c/up !$SYS/x", "# +/x x/# !$SYS/#"},
		{"bob", "c", "x/up /up !up !x/y/up !$x/up", "+/up x/up !#/up !# !+/#"},
		{"joe@example.com", "c", "!who/joe@example.com in-c-word/joe@example.com.x", "who/joe@example.com who/joe@example.com/# !who/joe/example.com !who/joe@example/com"},
		{"joe", "a.b", "dev/a.b/up !dev/a/b/up", ""},
		{"joe", "*", "dev/*/up !dev/x/up", ""},
		{"nobody", "c", "dev/c/up !a !dev/x/up", "who/nobody !#"},
	} {
		allows := rightsOf(t, tt.user, tt.client, acl)
		for topic := range strings.FieldsSeq(tt.publish) {
			topic, no := strings.CutPrefix(topic, "!")
			if got := allows(core.Write, bridge.Key(topic)); got == no {
				t.Errorf("%s (%s) publishes to %s: %v", tt.user, tt.client, topic, got)
			}
		}
		for filter := range strings.FieldsSeq(tt.subscribe) {
			filter, no := strings.CutPrefix(filter, "!")
			pattern, err := bridge.Pattern(filter)
			if err != nil {
				t.Fatal(err)
			}
			if got := allows(core.Read, pattern); got == no {
				t.Errorf("%s (%s) subscribes to %s: %v", tt.user, tt.client, filter, got)
			}
		}
	}
	if allows := rightsOf(t, "joe", "c", acl); !allows(core.Write, bridge.Key("with blanks/and.dot")) {
		t.Error("a filter with a blank was cut")
	}
}

// mosquittoAllows is Mosquitto's own rule: a user's lines before the patterns, a deny
// before what is allowed.
func mosquittoAllows(groups [][]string, access, topic string) bool {
	for _, lines := range groups {
		for _, want := range []string{"deny", access} {
			for _, line := range lines {
				word, filter, _ := strings.Cut(line, " ")
				if (word == want || word == "readwrite" && want != "deny") && bridge.Match(filter, topic) {
					return want != "deny"
				}
			}
		}
	}
	return false
}

// TestImportMosquitto_RandomRules compares with Mosquitto's rule over all topics and
// filters of an alphabet. Publishing is the same; a filter is allowed only if each of
// its topics may be read, and always if one rule has it and no deny meets it.
func TestImportMosquitto_RandomRules(t *testing.T) {
	topics, filters := words(3, []string{"a", "$b", "", "x"}), words(3, []string{"a", "$b", "", "+"})
	for _, f := range words(2, []string{"a", "$b", "+"}) {
		filters = append(filters, f+"/#")
	}
	filters = append(filters, "#")
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(n int) (lines []string) {
		for range random.IntN(n) {
			access := []string{"read", "write", "readwrite", "deny"}[random.IntN(4)]
			lines = append(lines, access+" "+filters[random.IntN(len(filters))])
		}
		return lines
	}
	for range 300 {
		groups := [][]string{pick(4), pick(3)}
		var acl strings.Builder
		acl.WriteString("user u\n")
		for i, word := range []string{"topic ", "pattern "} {
			for _, line := range groups[i] {
				acl.WriteString(word + line + "\n")
			}
		}
		allows := rightsOf(t, "u", "c", acl.String())
		for _, topic := range topics {
			if got, want := allows(core.Write, bridge.Key(topic)), mosquittoAllows(groups, "write", topic); got != want {
				t.Fatalf("seed %d: with\n%sto publish %q is allowed: %v, want %v", seed, acl.String(), topic, got, want)
			}
		}
		for _, filter := range filters {
			pattern, err := bridge.Pattern(filter)
			if err != nil {
				t.Fatal(err)
			}
			got := allows(core.Read, pattern)
			for _, topic := range topics {
				if got && bridge.Match(filter, topic) && !mosquittoAllows(groups, "read", topic) {
					t.Fatalf("seed %d: with\n%sthe filter %q is allowed, and %q is none to read", seed, acl.String(), filter, topic)
				}
			}
			if want := oneRuleHas(groups, filter, topics); want && !got {
				t.Fatalf("seed %d: with\n%sthe filter %q is refused", seed, acl.String(), filter)
			}
		}
	}
}

// oneRuleHas reports whether a rule's filter is the very one that is asked about, and
// no deny has any of its topics.
func oneRuleHas(groups [][]string, filter string, topics []string) bool {
	for _, topic := range topics {
		for _, lines := range groups {
			for _, line := range lines {
				if word, f, _ := strings.Cut(line, " "); word == "deny" && bridge.Match(f, topic) && bridge.Match(filter, topic) {
					return false
				}
			}
		}
	}
	for _, lines := range groups {
		for _, line := range lines {
			if line == "read "+filter || line == "readwrite "+filter {
				return true
			}
		}
	}
	return false
}

// words returns all topics of up to n levels.
func words(n int, levels []string) (all []string) {
	for _, l := range levels {
		if l != "" {
			all = append(all, l)
		}
		if n > 1 {
			for _, rest := range append(words(n-1, levels), "") {
				all = append(all, l+"/"+rest)
			}
		}
	}
	return all
}

func TestImportMosquitto_FilesThatAreWrong(t *testing.T) {
	hash := "$7$101$9cdrGEm0ePkMf3w1$xSA69JKwrDc61jq0M3hkLlordbR8zN8xowotjVjQA68wgE+TIiogVM1+ZQvqiKeUlSZWYQSZasgMNWq+rncX1w=="
	for _, tt := range []struct{ name, passwords, acl, want string }{
		{"no colon", "joe", "", "pw:1: is not NAME:HASH"},
		{"no name", ":" + hash, "", "pw:1: is not NAME:HASH"},
		{"twice", "joe:" + hash + "\n\njoe:" + hash, "", "pw:3: user 'joe' is there already"},
		{"plain", "# users\njoe:secret", "", "pw:2: the password of user 'joe' is not hashed: run mosquitto_passwd -U on the file"},
		{"bad hash", "joe:$7$0$x$y", "", "pw:1: user 'joe': unusable password hash"},
		{"all are told", "joe\nann", "", "pw:2: is not NAME:HASH"},
		{"no such word", "", "usr joe", `acl:1: "usr" is none of user, topic and pattern`},
		{"no user", "", "user ", `acl:1: names no user`},
		{"no topic", "", "topic", `acl:1: names no topic`},
		{"access", "", "topic a b", `acl:1: "a" is none of read, write, readwrite and deny`},
		{"filter", "", "user x\ntopic a/#/b", `acl:2: "a/#/b" is not a topic filter`},
		{"no pattern for the filter", "", `topic a/\x23`, "stands for a routing key that no pattern matches exactly"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseMosquittoPasswords("pw", []byte(tt.passwords))
			if tt.acl != "" {
				_, err = parseMosquittoACL("acl", []byte(tt.acl))
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the error shows a password")
			}
		})
	}
}

// Hashes that mosquitto_passwd 2.0.11 made, of "secret" and "geh eim".
const mosquittoPasswordFile = `joe:$7$101$9cdrGEm0ePkMf3w1$xSA69JKwrDc61jq0M3hkLlordbR8zN8xowotjVjQA68wgE+TIiogVM1+ZQvqiKeUlSZWYQSZasgMNWq+rncX1w==
ann:$6$64AKBCUHT6Y/VeYp$bfICIpmizPCW3jaURNUkWRnBAQIrDTN2bSPe9OOCD+iKDGaQ2WFIif5ld8RPdpucacZB73052qg1yMuHmHSH2w==
`

func TestAdmin_ImportMosquitto(t *testing.T) {
	b := startAdminBroker(t)
	dir := t.TempDir()
	passwords, acl := filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(passwords, mosquittoPasswordFile)
	write(acl, "topic read news\nuser joe\ntopic a\nuser cert\npattern write %c/%u\n")
	patterns := []string{`^(?:a$|{client_id}[.]{username}$)`, `^a$`, `^{client_id}[.]{username}$`}
	files := fmt.Sprintf(" --passwords %s --acl %s", passwords, acl)
	added := fmt.Sprintf("joe %%[1]s mosquitto %[1]s %[2]s ann %%[1]s mosquitto %[3]s \"\" cert %%[1]s none %[3]s \"\"", patterns[0], patterns[1], patterns[2])
	rows := func(head, change string) string {
		return "NAME " + head + " PASSWORD WRITE READ " + fmt.Sprintf(added, change)
	}
	b.play(t, []adminStep{
		{"", "import mosquitto", "at least one of the flags in the group", true},
		{"", "import mosquitto --vhost none" + files, "vhost 'none' does not exist", true},
		{"", "import mosquitto --dry-run" + files, rows("WOULD BE", "added"), false},
		{"", "user list", "NAME TAGS PASSWORD LIMITS adm administrator argon2id -", false},
		{"", "import mosquitto" + files, rows("CHANGE", "added"), false},
		{"secret\n", "user verify joe", "this is the password of user 'joe'", false},
		{"geh eim\n", "user verify ann", "this is the password of user 'ann'", false},
		{"", "permission list joe", `VHOST USER CONFIGURE WRITE READ / joe ^mqtt-subscription- ^(?:mqtt-subscription-|amq[.]topic$) ^amq[.]topic$`, false},
		{"", "topic-permission list joe", "VHOST USER EXCHANGE WRITE READ / joe amq.topic " + patterns[0] + " " + patterns[1], false},
		{"", "import mosquitto" + files, rows("CHANGE", "unchanged"), false},
		{"", "user set-tags joe management", "user 'joe' has the tags management", false},
		{"other\n", "user set-password joe", "user 'joe' has a new password", false},
		{"", "topic-permission set ann amq.topic _ _", "user 'ann' has topic permissions on exchange 'amq.topic' in vhost '/'", false},
		{"", "import mosquitto" + files, "nothing is changed: there are already with another password or other permissions: joe, ann; --replace", true},
		{"other\n", "user verify joe", "this is the password of user 'joe'", false},
		{"", "import mosquitto --dry-run --replace" + files, strings.Replace(rows("WOULD BE", "replaced"), "cert replaced", "cert unchanged", 1), false},
		{"", "import mosquitto --replace" + files, strings.Replace(rows("CHANGE", "replaced"), "cert replaced", "cert unchanged", 1), false},
		{"secret\n", "user verify joe", "this is the password of user 'joe'", false},
		{"", "user list", "NAME TAGS PASSWORD LIMITS adm administrator argon2id - ann - mosquitto - cert - none - joe management mosquitto -", false},
		{"", "import mosquitto --passwords " + passwords, "NAME CHANGE PASSWORD WRITE READ joe unchanged mosquitto - - ann unchanged mosquitto - -", false},
		{"", "vhost add v", "vhost 'v' is added", false},
		{"", "import mosquitto --vhost v --replace --passwords " + passwords, "NAME CHANGE PASSWORD WRITE READ joe replaced mosquitto - - ann replaced mosquitto - -", false},
		{"", "topic-permission list --vhost v", "VHOST USER EXCHANGE WRITE READ", false},
	})

	_, _, stderr := adminRun(t, nil, "", "import", "--admin-socket", b.socket, "mosquitto", "--dry-run", "--passwords", passwords, "--acl", acl)
	for _, want := range []string{
		"acl:1: not imported: it is for clients without a user name; --anonymous-user",
		"acl:5: the pattern is given to the users of this import",
		"user 'cert' is in the ACL file alone",
		"who subscribes to more than one rule allows is refused",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no warning %q in:\n%s", want, stderr)
		}
	}

	write(acl, "topic read news\npattern write %c/%u\npattern read to/%c\n")
	b.play(t, []adminStep{{"", "import mosquitto --anonymous-user nobody --acl " + acl, `NAME CHANGE PASSWORD WRITE READ nobody added none "" ^(?:news$|to[.]{client_id}$)`, false}})

	write(acl, "bogus\ntopic a/#/b\n")
	code, _, stderr := adminRun(t, nil, "", "import", "--admin-socket", b.socket, "mosquitto", "--acl", acl)
	if code == exitOK || !strings.Contains(stderr, "acl:1: ") || !strings.Contains(stderr, "acl:2: ") {
		t.Errorf("files that are wrong: %d, %s", code, stderr)
	}
}
