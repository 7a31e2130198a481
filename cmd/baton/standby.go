package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	admin "github.com/batonmq/baton/protocols/http"
)

// followAgain is how long a standby waits before it opens an index that has failed
// once more.
const followAgain = time.Second

// following is what a node does while it stands by. All of it belongs to the
// goroutine that calls follow and then active, but for view.
type following struct {
	follower *persistence.Follower // nil: to be made, or given away
	view     atomic.Pointer[standbyView]
}

// standbyView is what health asks on a standby.
type standbyView struct {
	standby  *ha.Standby
	progress persistence.Progress
	promised uint64    // by the epoch that is followed, as its lease said last
	caughtUp time.Time // when it had caught up last, or began
}

// follow is this node's life as a standby: dark, with its index kept close behind
// the primary's journal, until ctx ends. What it has reached waits in n.follower
// for active, or for the next call.
func (n *node) follow(ctx context.Context, s *ha.Standby) error {
	n.enter(admin.State{Role: admin.RoleStandby, Reason: "another broker is the primary"})
	n.warm.view.Store(&standbyView{standby: s, caughtUp: time.Now()})
	defer func() { n.begin = time.Now() }() // for how long a start takes: it begins now
	for {
		err := n.followOnce(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, persistence.ErrNewer) {
			return err // no try of this version can read it
		}
		s.Report(ha.Progress{Err: err})
		n.log.Warn("this node's index cannot follow the primary; it will be opened again", slog.Any("err", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
	}
}

// followOnce follows until ctx ends, or something does that only a new follower
// gets over.
func (n *node) followOnce(ctx context.Context, s *ha.Standby) error {
	if n.warm.follower == nil {
		opt := n.storeOptions(n.boot, s.StoreID(), s.Shared())
		// What has begun to open is worth waiting for, also when it is our turn.
		f, err := persistence.NewFollower(context.WithoutCancel(ctx), opt)
		if err != nil {
			return err
		}
		n.warm.follower = f
	}
	f := n.warm.follower
	err := f.Follow(ctx, func() (persistence.Source, bool, error) {
		// Follow asks before each step, so that this reports the one before.
		src, ok, err := s.Source()
		n.report(s, f.Progress(), src.Promised)
		return sourceOf(src), ok, err
	})
	if err != nil {
		n.dropFollower()
	}
	return err
}

// report tells the others how far this node is. Damage does not keep it from
// taking over: a start decides what that means, and nobody else would make one.
func (n *node) report(s *ha.Standby, p persistence.Progress, promised uint64) {
	v := &standbyView{s, p, promised, n.warm.view.Load().caughtUp}
	if p.CaughtUp {
		v.caughtUp = time.Now()
	}
	n.warm.view.Store(v)
	report := ha.Progress{
		Position: ha.Position{Epoch: p.Epoch, Offset: p.Offset}, CaughtUp: p.CaughtUp, BehindBytes: v.behind(), Behind: v.late(),
	}
	if p.Reason != "" && !p.Damaged {
		report.Err = errors.New(p.Reason)
	}
	s.Report(report)
}

// takeFollower gives the follower away, nil if there is none.
func (n *node) takeFollower() *persistence.Follower {
	f := n.warm.follower
	n.warm.follower = nil
	return f
}

func (n *node) dropFollower() {
	f := n.takeFollower()
	if f == nil {
		return
	}
	if err := f.Close(); err != nil {
		n.log.Warn("index not closed", slog.Any("err", err))
	}
}

// preflight is what a standby checks again and again, and once more before it
// claims an epoch: the configuration, read anew as a whole, and the disk. What it
// has read is in force when this node takes over.
func (n *node) preflight(context.Context) error {
	c, err := n.reload.load()
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	c.hold(n.boot)
	if err := c.complete(); err != nil { // with what was held
		return err
	}
	if err := c.checkFiles(); err != nil {
		return err
	}
	if err := n.checkSpace(c); err != nil {
		return err
	}
	n.next.Store(c)
	return nil
}

// hold gives c the values of boot where a running process cannot change them.
func (c *Config) hold(boot *Config) {
	for _, s := range settings() {
		if s.held {
			_ = s.bind(c).set(s.bind(boot).texts()) // they were accepted before
			c.origin[s.key] = boot.origin[s.key]
		}
	}
}

// hash is that of the configuration in force, with what reloads have changed in it, or,
// on a standby, of the one that would be: as it was read last.
func (n *node) hash() string {
	c := n.next.Load()
	if c == nil || n.live.parts.Load() != nil {
		c = n.reload.inForce.Load()
	}
	if h := n.hashed.Load(); h != nil && h.of == c {
		return h.text
	}
	h := &configHash{of: c, text: c.hash()}
	n.hashed.Store(h)
	return h.text
}

// configHash is the hash of a configuration.
type configHash struct {
	of   *Config
	text string
}

// hash tells configurations apart that nodes of one store should have in common.
// Secrets are left out: it is written where others read it.
func (c *Config) hash() string {
	h := sha256.New()
	for _, s := range c.settings() {
		if !s.own && !s.secret {
			fmt.Fprintf(h, "%s=%q\n", s.key, s.bind(c).texts()) // a hash takes everything
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// advertise is where clients reach this node. An address with a port that the
// system is to choose is known to nobody in advance.
func (c *Config) advertise() []string {
	if len(c.HA.Advertise) > 0 {
		return c.HA.Advertise
	}
	var all []string
	for _, e := range c.entrances() {
		all = appendURLs(all, e.scheme, e.addresses)
	}
	if !allLoopback(c.Admin.Listen) { // as it is by default: nobody else reaches it
		all = appendURLs(all, "http", c.Admin.Listen)
	}
	if !allLoopback(c.Admin.TLSListen) {
		all = appendURLs(all, "https", c.Admin.TLSListen)
	}
	return slices.Compact(all)
}

// appendURLs appends those by which other machines reach the addresses.
func appendURLs(all []string, scheme string, addresses []string) []string {
	for _, addr := range addresses {
		host, port, err := net.SplitHostPort(addr)
		if err != nil || port == "0" {
			continue
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, err = os.Hostname(); err != nil {
				continue
			}
		}
		all = append(all, scheme+"://"+net.JoinHostPort(host, port))
	}
	return all
}

// reachedBy returns the HOST:PORT of the addresses with the scheme.
func reachedBy(addresses []string, scheme string) []string {
	var all []string
	for _, a := range addresses {
		if u, err := url.Parse(a); err == nil && u.Scheme == scheme {
			all = append(all, u.Host)
		}
	}
	return all
}

// observe completes the state with what is true at the moment.
func (n *node) observe(s *admin.State) {
	switch s.Role {
	case admin.RolePrimary:
		if parts := n.live.parts.Load(); parts != nil {
			s.Reason = parts.busy()
		}
	case admin.RoleStandby:
		if v := n.warm.view.Load(); v != nil {
			v.complete(s, n.hash())
		}
	case admin.RoleStarting, admin.RoleStopping:
	}
}

// complete adds what the standby knows. Nothing here waits for a file.
func (v *standbyView) complete(s *admin.State, hash string) {
	holder, _ := v.standby.Holder()
	sb := &admin.Standby{
		Primary: holder.Node, PrimaryEpoch: holder.Epoch, Addresses: holder.Advertise,
		CaughtUp: v.progress.CaughtUp, BehindBytes: v.behind(), BehindSeconds: v.late().Seconds(),
		ConfigDiffers: holder.ConfigHash != "" && holder.ConfigHash != hash,
	}
	s.Reason = fmt.Sprintf("node %q is the primary in epoch %d", holder.Node, holder.Epoch)
	if err := v.standby.Ineligible(); err != nil {
		sb.Ineligible = err.Error()
		s.Reason += "; this node cannot take over: " + sb.Ineligible
	}
	sb.Eligible = sb.Ineligible == ""
	if sb.ConfigDiffers {
		s.Reason += "; its configuration differs from this node's"
	}
	s.Standby = sb
}

// late is for how long this node has not caught up.
func (v *standbyView) late() time.Duration {
	if v.progress.CaughtUp {
		return 0
	}
	return time.Since(v.caughtUp)
}

// behind is how much of the primary's journal this node has not read yet. What
// lies in epochs before it is not counted.
func (v *standbyView) behind() uint64 {
	switch p := &v.progress; {
	case p.CaughtUp:
		return 0
	case p.Epoch == p.Source && p.Offset < v.promised:
		return v.promised - p.Offset
	case p.Epoch == p.Source:
		return 0
	}
	return v.promised
}
