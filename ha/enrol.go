package ha

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"time"
)

// enrol makes this node's presence known, unless a living node has its name.
func (n *node) enrol(ctx context.Context, stop context.CancelCauseFunc) (*Standby, error) {
	s := &Standby{
		node: n, path: n.presencePath(n.opt.Node), stop: stop, kick: make(chan struct{}, 1),
		jitter: rand.Float64(), peers: map[string]*peer{},
		self: presence{
			Node: n.opt.Node, Nonce: fmt.Sprintf("%x", n.nonce), PID: n.pid, TTL: int64(n.opt.TTL),
			Role: RoleStandby, Advertise: n.opt.Advertise,
		},
	}
	if n.opt.Preflight != nil {
		s.preflight = errUnchecked
	}
	if err := n.files.Mkdir(n.standbyDir()); err != nil {
		return nil, fmt.Errorf("stand by: %w", err)
	}
	if err := s.enter(ctx); err != nil {
		if s.file != nil {
			closeRead(s.file)
		}
		return nil, fmt.Errorf("stand by as node %q: %w", n.opt.Node, err)
	}
	if err := s.readPeers(); err != nil {
		closeRead(s.file)
		return nil, fmt.Errorf("stand by: %w", err)
	}
	attending, quit := context.WithCancel(ctx)
	s.quit = quit
	s.wg.Go(func() { s.attend(attending) })
	if n.opt.Preflight != nil {
		s.wg.Go(func() { s.check(attending) })
	}
	return s, nil
}

func (n *node) standbyDir() string { return filepath.Join(n.haDir(), "standby") }

// presencePath escapes what a file name cannot hold.
func (n *node) presencePath(name string) string {
	return filepath.Join(n.standbyDir(), "n-"+url.PathEscape(name))
}

// enter opens, locks and fills this node's file.
func (s *Standby) enter(ctx context.Context) (err error) {
	files := s.node.files
	if s.file, err = files.Open(s.path, true); errors.Is(err, fs.ErrExist) {
		s.file, err = files.Open(s.path, false)
	}
	if err != nil {
		return err
	}
	if err := s.refuseNamesake(ctx); err != nil {
		return err
	}
	switch err := s.file.Lock(); {
	case err == nil, errors.Is(err, errors.ErrUnsupported):
	case s.node.fresh == Cached:
		return s.namesake(err)
	}
	return s.write()
}

// refuseNamesake fails if the file belongs to a living process. Where a lock may
// outlive its holder, or there is none, the counter has to move to show that.
func (s *Standby) refuseNamesake(ctx context.Context) error {
	locked, lockErr := s.file.Locked()
	if locked && s.node.fresh == Cached {
		return s.namesake(errLocked)
	}
	if lockErr == nil && !locked {
		return nil
	}
	first, err := s.read()
	if err != nil || first == nil || first.Role == RoleLeft {
		return err
	}
	for end := time.Now().Add(time.Duration(first.TTL)); time.Now().Before(end); {
		if err := pause(ctx, time.Duration(first.TTL)/10); err != nil {
			return err
		}
		now, err := s.read()
		if err != nil {
			return err
		}
		if now != nil && (now.Counter != first.Counter || now.Nonce != first.Nonce) {
			return s.namesake(fmt.Errorf("process %d renews its presence", now.PID))
		}
	}
	return nil
}

func (s *Standby) namesake(why error) error {
	return fmt.Errorf("%w: a living broker in %s has it, too (%w); give every broker its own --node", ErrNamesake, s.node.opt.Dir, why)
}

func (s *Standby) read() (*presence, error) {
	page, err := s.node.readPage(s.path)
	if err != nil {
		return nil, err
	}
	p, err := decodePresence(page, s.node.id)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	return p, nil
}

// write is called by one goroutine at a time.
func (s *Standby) write() error {
	hash := s.node.configHash()
	s.mu.Lock()
	s.self.Counter++
	s.self.ConfigHash = hash
	s.self.Position, s.self.CaughtUp = s.progress.Position, s.progress.CaughtUp
	s.self.BehindBytes, s.self.Behind = s.progress.BehindBytes, s.progress.Behind
	s.self.Reason = ""
	if err := s.ineligibleLocked(); err != nil && s.self.Role == RoleStandby {
		s.self.Reason = err.Error()
	}
	self := s.self
	s.mu.Unlock()
	page, err := encodePresence(s.node.id, &self)
	if err != nil {
		return err
	}
	return s.file.Write(page, 0, s.node.fresh != Cached)
}

// attend renews our presence and reads that of the others, and, as primary, what
// is asked of it. None of that is worth ending for: it only orders who moves.
func (s *Standby) attend(ctx context.Context) {
	tick := time.NewTicker(s.node.opt.TTL / 5)
	defer tick.Stop()
	broken := false
	for {
		select {
		case <-tick.C:
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		err := errors.Join(s.watchNamesake(), s.write(), s.readPeers(), s.readAsk())
		if err != nil && !broken && ctx.Err() == nil {
			s.node.log.Warn("presence among the standbys is not up to date", slog.Any("err", err))
		}
		broken = err != nil
	}
}

// watchNamesake finds another process that writes our file, where no lock could
// tell. Of two that started together the one with the higher nonce goes on.
func (s *Standby) watchNamesake() error {
	p, err := s.read()
	if err != nil || p == nil || p.Nonce <= s.self.Nonce || p.Role == RoleLeft {
		return err
	}
	s.mu.Lock()
	standing := s.tenure == nil
	s.mu.Unlock()
	if standing {
		s.stop(s.namesake(fmt.Errorf("process %d", p.PID)))
	}
	return nil
}

func (s *Standby) readPeers() error {
	names, err := s.node.files.Names(s.node.standbyDir())
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(s.node.standbyDir(), name)
		if path == s.path {
			continue
		}
		page, err := s.node.readPage(path)
		if err != nil {
			return err
		}
		p, err := decodePresence(page, s.node.id)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if p != nil {
			s.saw(name, p)
		}
	}
	return nil
}

func (s *Standby) saw(name string, p *presence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.peers[name]
	if before != nil && before.Counter == p.Counter && before.Nonce == p.Nonce {
		return
	}
	s.peers[name] = &peer{presence: *p, changed: time.Now()}
}

// readAsk looks whether our epoch was asked to hand over.
func (s *Standby) readAsk() error {
	s.mu.Lock()
	t := s.tenure
	s.mu.Unlock()
	if t == nil {
		return nil
	}
	page, err := s.node.readPage(s.node.path(t.epoch, "request"))
	if err == nil && asked(page, s.node.id, t.epoch) {
		t.askHandover()
	}
	return err
}

// leave ends this node's presence. Files that hang do not hold up the end of the
// process.
func (s *Standby) leave() {
	s.quit()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
		s.mu.Lock()
		s.self.Role = RoleLeft
		s.mu.Unlock()
		_ = s.write() // the others then find out by the lock, or the counter
		closeRead(s.file)
	}()
	grace := time.NewTimer(abandonGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
	}
}
