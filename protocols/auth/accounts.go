package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/batonmq/baton/core"
)

// Users are the broker's records of who there is and what they may do;
// *core.Access has them. Reads never wait.
type Users interface {
	Generation() uint64
	User(name string) (core.User, bool)
	Permission(vhost, user string) (core.Permission, bool)
	TopicPermission(vhost, user, exchange string) (core.TopicPermission, bool)
	HasTopicPermissions(vhost, user string) bool
}

var _ Users = (*core.Access)(nil)

// AccountsOptions describe how the records are read.
type AccountsOptions struct {
	Users Users // required

	// LoopbackOnly are the users that may log in from this machine only, by
	// password as by certificate. Nil is the default user alone; an empty
	// list is nobody.
	LoopbackOnly []string

	Logger *slog.Logger // nil: none
}

func (o *AccountsOptions) validate() error {
	if o.Users == nil {
		return errors.New("accounts need the records of users")
	}
	return nil
}

// Accounts are the users that the broker itself knows. The authenticators whose
// users those are share them, and their compiled permissions.
type Accounts struct {
	users        Users
	loopbackOnly []string
	log          *slog.Logger
	patterns     *patterns
	key          [32]byte // of this process; nothing made with it is stored
}

// NewAccounts returns the accounts of the records.
func NewAccounts(opt AccountsOptions) (*Accounts, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	if opt.LoopbackOnly == nil {
		opt.LoopbackOnly = []string{DefaultUser}
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Accounts{
		users:        opt.Users,
		loopbackOnly: slices.Clone(opt.LoopbackOnly),
		log:          opt.Logger,
		patterns:     newPatterns(opt.Logger),
	}
	_, _ = rand.Read(a.key[:]) // it never fails
	return a, nil
}

// Principal returns the user of that name for a peer that has proved to be it,
// or whom a listener lets in as it. The error is ErrRefused.
func (a *Accounts) Principal(name string, from net.Addr) (Principal, error) {
	user, ok := a.users.User(name)
	if !ok {
		return Principal{}, fmt.Errorf("user %q from %v: %w", name, from, ErrBadCredentials)
	}
	if err := a.mayComeFrom(name, from); err != nil {
		return Principal{}, err
	}
	return a.principal(name, user), nil
}

// principal makes a principal called name that has the user's tags and
// permissions.
func (a *Accounts) principal(name string, user core.User) Principal {
	return Principal{
		Name: name,
		Tags: slices.Clone(user.Tags),
		Access: func(v Variables) core.Authorizer {
			return &permissions{accounts: a, account: user.Name, name: name, vars: v}
		},
	}
}

func (a *Accounts) mayComeFrom(name string, from net.Addr) error {
	if slices.Contains(a.loopbackOnly, name) && !IsLocal(from) {
		return fmt.Errorf("user %q from %v: %w", name, from, ErrNotLoopback)
	}
	return nil
}

// logUnusable tells of a record that lets nobody in until it is replaced.
func (a *Accounts) logUnusable(user string, err error) {
	a.log.Error("a stored hash cannot be used", slog.String("user", user), slog.Any("err", err))
}
