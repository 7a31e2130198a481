package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

const envUserPassword = envPrefix + "USER_PASSWORD"

func userCommand(f *adminFlags) *cobra.Command {
	return nounCommand("user", "List, add, change and delete users",
		f.verbCommand("list", "List the users", cobra.NoArgs, listUsers),
		addUserCommand(f),
		f.verbCommand("delete NAME", "Delete a user with its permissions, and end its connections", cobra.ExactArgs(1), deleteUser),
		setPasswordCommand(f),
		f.verbCommand("set-tags NAME [TAG...]", "Give a user these tags in place of those it has", cobra.MinimumNArgs(1), setTags),
		verifyCommand(f),
	)
}

// adminUser is a user as the API has it.
type adminUser struct {
	Name         string         `json:"name"`
	PasswordHash string         `json:"password_hash"`
	Algorithm    string         `json:"hashing_algorithm"`
	Tags         []string       `json:"tags"`
	Limits       map[string]int `json:"limits"`
}

// password says how a user's is kept.
func (u *adminUser) password() string {
	if u.PasswordHash == "" {
		return "none"
	}
	return u.Algorithm
}

func listUsers(b *broker, _ []string) error {
	var users []adminUser
	if err := b.get("/api/users", &users); err != nil {
		return err
	}
	type row struct { // without the hash, which nobody needs to see
		Name     string         `json:"name"`
		Tags     []string       `json:"tags"`
		Password string         `json:"password"`
		Limits   map[string]int `json:"limits"`
	}
	rows, t := make([]row, len(users)), newTable("NAME", "TAGS", "PASSWORD", "LIMITS")
	for i, u := range users {
		rows[i] = row{u.Name, u.Tags, u.password(), u.Limits}
		t.row(u.Name, listText(u.Tags), u.password(), limitsText(u.Limits))
	}
	return b.print(rows, t)
}

// user returns one that must exist.
func (b *broker) getUser(name string) (u adminUser, err error) {
	if err = b.get(apiPath("api", "users", name), &u); missing(err) {
		err = fmt.Errorf("user '%s' does not exist", name)
	}
	return u, err
}

// passwordFlag adds --password-file.
func passwordFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("password-file", "", "`file` with the user's password, - for standard input (default $"+envUserPassword+", or a prompt)")
}

func (b *broker) userPassword(file, name string, isNew bool) (string, error) {
	text := "Password of " + name + ": "
	if isNew {
		text = "New password of " + name + ": "
	}
	return b.flags.secret(b.cmd, secret{file: file, env: envUserPassword, prompt: text, twice: isNew})
}

func addUserCommand(f *adminFlags) *cobra.Command {
	var tags []string
	var file *string
	var none bool
	cmd := f.verbCommand("add NAME", "Add a user", cobra.ExactArgs(1), func(b *broker, args []string) error {
		name := args[0]
		var old adminUser
		err := b.get(apiPath("api", "users", name), &old)
		if err == nil {
			return fmt.Errorf("user '%s' exists already: use set-password or set-tags to change it", name)
		}
		if !missing(err) {
			return err
		}
		body := map[string]any{"tags": append([]string{}, tags...)}
		if !none {
			if body["password"], err = b.userPassword(*file, name, true); err != nil {
				return err
			}
		}
		if err := b.put(apiPath("api", "users", name), body); err != nil {
			return err
		}
		return b.say("user '%s' is added; it has no permissions yet", name)
	})
	cmd.Flags().StringSliceVar(&tags, "tags", nil, "`tags`, with commas between them: administrator, monitoring, policymaker, management, or any")
	cmd.Flags().BoolVar(&none, "no-password", false, "the user cannot log in by password")
	file = passwordFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("no-password", "password-file")
	return cmd
}

func deleteUser(b *broker, args []string) error {
	err := b.del(apiPath("api", "users", args[0]), nil)
	if missing(err) {
		return fmt.Errorf("user '%s' does not exist", args[0])
	}
	if err != nil {
		return err
	}
	return b.say("user '%s' is deleted", args[0])
}

func setPasswordCommand(f *adminFlags) *cobra.Command {
	var file *string
	var none bool
	cmd := f.verbCommand("set-password NAME", "Give a user a new password; connections stay", cobra.ExactArgs(1), func(b *broker, args []string) error {
		u, err := b.getUser(args[0])
		if err != nil {
			return err
		}
		password := ""
		if !none {
			if password, err = b.userPassword(*file, u.Name, true); err != nil {
				return err
			}
		}
		if err := b.put(apiPath("api", "users", u.Name), map[string]any{"tags": u.Tags, "password": password}); err != nil {
			return err
		}
		if none {
			return b.say("user '%s' has no password any more", u.Name)
		}
		return b.say("user '%s' has a new password", u.Name)
	})
	cmd.Flags().BoolVar(&none, "no-password", false, "take the password away")
	file = passwordFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("no-password", "password-file")
	return cmd
}

func setTags(b *broker, args []string) error {
	u, err := b.getUser(args[0])
	if err != nil {
		return err
	}
	err = b.put(apiPath("api", "users", u.Name), map[string]any{
		"tags": args[1:], "password_hash": u.PasswordHash, "hashing_algorithm": u.Algorithm,
	})
	if err != nil {
		return err
	}
	return b.say("user '%s' has the tags %s", u.Name, listText(args[1:]))
}

// verifyCommand logs in as the user. One that is good but has no tag for the API
// is told so in another way than one that is not.
func verifyCommand(f *adminFlags) *cobra.Command {
	var file *string
	cmd := f.verbCommand("verify NAME", "Say whether a password is the user's", cobra.ExactArgs(1), func(b *broker, args []string) error {
		password, err := b.userPassword(*file, args[0], false)
		if err != nil {
			return err
		}
		as := *b
		as.user, as.password = args[0], password
		err = as.get("/api/whoami", &struct{}{})
		if e, ok := errors.AsType[*answerError](err); ok && e.status == http.StatusUnauthorized {
			if e.Code == "not_authorized" {
				return fmt.Errorf("this is not the password of user '%s', or there is no such user, or it may not log in from here", args[0])
			}
			err = nil
		}
		if err != nil {
			return err
		}
		return b.say("this is the password of user '%s'", args[0])
	})
	file = passwordFlag(cmd)
	return cmd
}
