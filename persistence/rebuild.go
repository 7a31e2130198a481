package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// RebuildIndex makes the index that the next start of opt.Node will use from the journal alone. No broker may be running on opt.Dir. The
// journal is left as it is. Of opt, Dir, Node, StoreID and Source count, and Salvage.
func RebuildIndex(ctx context.Context, opt Options) error {
	if opt.Source == nil {
		return errors.New("rebuild index: the store is empty")
	}
	opt.Epoch = opt.Source.Epoch + 1 // nothing is written under it
	if err := opt.validate(); err != nil {
		return err
	}
	opt = opt.withDefaults()
	held, err := index.Held(filepath.Join(opt.Dir, "index"))
	if err != nil {
		return err
	}
	if len(held) > 0 {
		return fmt.Errorf("rebuild index of %s: %w: slots %v are in use; stop every broker on the directory first", opt.Dir, index.ErrHeld, held)
	}
	s := &Store{opt: opt, log: opt.Logger, journal: filepath.Join(opt.Dir, "journal"), seed: journal.StoreSeed(opt.StoreID)}
	if s.index, err = openIndex(ctx, &s.opt); err != nil {
		return err
	}
	if err := errors.Join(s.rebuildIndex(ctx), s.index.Close()); err != nil {
		return fmt.Errorf("rebuild index of %s: %w", opt.Dir, err)
	}
	return nil
}

// rebuildIndex reads the whole journal and then, not before, replaces what the index holds. Its position is before the journal's last
// group, which the next epoch writes again.
func (s *Store) rebuildIndex(ctx context.Context) error {
	r, err := s.newReader()
	if err != nil {
		return err
	}
	if _, err := s.rebuild(ctx, r); err != nil {
		return err
	}
	s.damage.say(s)
	if err := s.index.Reset(); err != nil {
		return err
	}
	if s.live.position == (journal.Position{}) {
		return nil // one group is all there is
	}
	cp := s.live.snapshot()
	if err := s.index.Apply(cp); err != nil {
		return err
	}
	s.log.Info("index rebuilt", slog.String("position", journal.Position(cp.Position).String()),
		slog.Int("queues", len(cp.PutQueues)), slog.Int("chunks", len(cp.PutChunks)), slog.Int("definitions", len(cp.PutDefinitions)))
	return nil
}
