package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/http/definitions"
)

// user is what administrators see of one, its hash included: what definitions are
// made of.
type user struct {
	Name         string         `json:"name"`
	PasswordHash string         `json:"password_hash"`
	Algorithm    string         `json:"hashing_algorithm"`
	Tags         []string       `json:"tags"`
	Limits       map[string]int `json:"limits"`
}

func userOf(u *core.User) user {
	algorithm, hash := auth.SplitHash(u.Password)
	if hash == "" {
		algorithm = "rabbit_password_hashing_sha256" // which of them does not matter, and RabbitMQ wants one
	}
	return user{u.Name, hash, algorithm, notNil(u.Tags), definitions.UserLimits.Of(u)}
}

// tags are a list of texts or, as once in RabbitMQ, one text with commas.
type tags []string

// UnmarshalJSON reads both forms.
func (t *tags) UnmarshalJSON(b []byte) error {
	var texts []string
	if bytes.HasPrefix(b, []byte(`"`)) {
		var all string
		if err := json.Unmarshal(b, &all); err != nil {
			return err
		}
		texts = strings.Split(all, ",")
	} else if err := json.Unmarshal(b, &texts); err != nil || texts == nil {
		return errors.New("tags should be a list of strings, or a string with commas")
	}
	*t = tags{}
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" && !slices.Contains(*t, text) {
			*t = append(*t, text)
		}
	}
	return nil
}

// notNil makes an empty list of none: JSON tells them apart.
func notNil(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

func whoami(c *call) (any, error) {
	return struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.actor.Name, notNil(c.actor.Tags)}, nil
}

func listUsers(c *call) (any, error) {
	return usersOf(c.access().Users()), nil
}

func usersOf(users []core.User) list {
	l := make(list, len(users))
	for i := range users {
		l[i] = userOf(&users[i])
	}
	return l
}

func listUsersWithoutPermissions(c *call) (any, error) {
	with := map[string]bool{}
	for _, p := range c.access().Permissions() {
		with[p.User] = true
	}
	return usersOf(slices.DeleteFunc(c.access().Users(), func(u core.User) bool { return with[u.Name] })), nil
}

func getUser(c *call) (any, error) {
	u, ok := c.access().User(c.names["user"])
	if !ok {
		return nil, noObject()
	}
	return userOf(&u), nil
}

// putUser makes a user, or changes password and tags of one. As in RabbitMQ, who
// is given neither a password nor a hash has none afterwards. Limits stay.
func putUser(c *call) (any, error) {
	var body struct {
		Password     *string `json:"password"`
		PasswordHash *string `json:"password_hash"`
		Algorithm    string  `json:"hashing_algorithm"`
		Tags         *tags   `json:"tags"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.Tags == nil:
		return nil, badRequest("tags_not_present")
	case body.Password != nil && body.PasswordHash != nil:
		return nil, badRequest("both_password_and_password_hash_are_provided")
	}
	name := c.names["user"]
	u, ok := c.access().User(name)
	if !ok {
		u = core.User{Name: name, MaxConnections: -1, MaxChannels: -1}
	}
	u.Tags = *body.Tags
	c.note(slog.Any("tags", u.Tags))
	var err error
	if body.PasswordHash != nil {
		c.note(slog.String("password", "hash given"))
		err = setHash(&u, body.Algorithm, *body.PasswordHash)
	} else {
		password := ""
		if body.Password != nil {
			password = *body.Password
		}
		c.note(slog.String("password", map[bool]string{true: "none", false: "given"}[password == ""]))
		err = auth.SetPassword(&u, password)
	}
	if err != nil {
		return nil, err
	}
	isNew, err := c.access().PutUser(c.r.Context(), u)
	return createdOrDone(isNew), err
}

// setHash gives the user a password of which the hash is known. The hash that it
// has already leaves what belongs to it.
func setHash(u *core.User, algorithm, encoded string) error {
	if encoded == "" {
		return auth.SetPassword(u, "")
	}
	hash, err := auth.JoinHash(algorithm, encoded)
	if err != nil {
		return badRequest("password_hash: %s", err)
	}
	if hash != u.Password {
		u.Password, u.SCRAM = hash, ""
	}
	return nil
}

func deleteUser(c *call) (any, error) {
	return deleted(c.access().DeleteUser(c.r.Context(), c.names["user"]))
}

// deleted is the answer to a deletion.
func deleted(existed bool, err error) (any, error) {
	if err == nil && !existed {
		err = noObject()
	}
	return done, err
}

func deleteUsers(c *call) (any, error) {
	var body struct {
		Users *[]string `json:"users"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Users == nil {
		return nil, missing("users")
	}
	c.note(slog.Any("users", *body.Users))
	for _, name := range *body.Users {
		if _, ok := c.access().User(name); !ok {
			return nil, badRequest("no_such_user: %s", name)
		}
	}
	for _, name := range *body.Users {
		if _, err := c.access().DeleteUser(c.r.Context(), name); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// hashPassword makes a hash for definitions that are written by hand.
func hashPassword(c *call) (any, error) {
	var body struct {
		Password *string `json:"password"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Password == nil || *body.Password == "" {
		return nil, missing("password")
	}
	hash, err := auth.HashPassword(*body.Password)
	return struct {
		OK string `json:"ok"`
	}{hash}, err
}
