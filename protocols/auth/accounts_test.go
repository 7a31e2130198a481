package auth

import (
	"sync"
	"testing"

	"github.com/batonmq/baton/core"
)

// users are records that a test can change.
type users struct {
	mu          sync.Mutex
	generation  uint64
	all         map[string]core.User
	permissions []core.Permission
	topics      []core.TopicPermission
}

var _ Users = (*users)(nil)

func (u *users) Generation() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.generation
}

func (u *users) User(name string) (core.User, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	user, ok := u.all[name]
	return user, ok
}

func (u *users) set(user core.User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.generation++
	u.all[user.Name] = user
}

func (u *users) remove(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.generation++
	delete(u.all, name)
}

func (u *users) Permission(vhost, user string) (core.Permission, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.permissions {
		if p.VHost == vhost && p.User == user {
			return p, true
		}
	}
	return core.Permission{}, false
}

func (u *users) TopicPermission(vhost, user, exchange string) (core.TopicPermission, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.topics {
		if p.VHost == vhost && p.User == user && p.Exchange == exchange {
			return p, true
		}
	}
	return core.TopicPermission{}, false
}

func (u *users) HasTopicPermissions(vhost, user string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.topics {
		if p.VHost == vhost && p.User == user {
			return true
		}
	}
	return false
}

func newAccounts(tb testing.TB, u Users) *Accounts {
	tb.Helper()
	a, err := NewAccounts(AccountsOptions{Users: u})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func TestNewAccounts_NeedsRecords(t *testing.T) {
	if _, err := NewAccounts(AccountsOptions{}); err == nil {
		t.Error("accounts without records")
	}
}
