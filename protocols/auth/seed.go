package auth

import (
	"errors"
	"fmt"

	"github.com/batonmq/baton/core"
)

// The user that exists when none is configured, known to every RabbitMQ client.
const (
	DefaultUser     = "guest"
	DefaultPassword = "guest"
)

// SetPassword gives the user a new password: its hash, and the SCRAM verifier
// beside it. The empty password takes the old one away.
func SetPassword(u *core.User, password string) error {
	if password == "" {
		u.Password, u.SCRAM = "", ""
		return nil
	}
	hash, err := HashPassword(password)
	if err != nil {
		return fmt.Errorf("user %q: %w", u.Name, err)
	}
	verifier, err := SCRAMVerifier(password)
	if err != nil {
		return fmt.Errorf("user %q: %w", u.Name, err)
	}
	u.Password, u.SCRAM = hash, verifier
	return nil
}

// FirstUser makes what a new store is seeded with: an administrator who may do
// everything in the vhost.
func FirstUser(name, password, vhost string) (core.User, []core.Permission, error) {
	if name == "" || password == "" {
		return core.User{}, nil, errors.New("the first user needs a name and a password")
	}
	u := core.User{Name: name, Tags: []string{"administrator"}, MaxConnections: -1, MaxChannels: -1}
	if err := SetPassword(&u, password); err != nil {
		return core.User{}, nil, err
	}
	return u, []core.Permission{{VHost: vhost, User: name, Configure: ".*", Write: ".*", Read: ".*"}}, nil
}
