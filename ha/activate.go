package ha

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"
)

// Activate makes the epoch primary: its active file, with the lineage it
// continues, is on stable storage, and its fence was still unmarked after that.
// No promise may be made before. The lineage is the source's (less the epochs of
// which no journal segment is left) and then the source's own seal; it is empty
// when there is no source.
func (t *Tenure) Activate(lineage []Seal) error {
	if err := t.checkLineage(lineage); err != nil {
		return fmt.Errorf("activate epoch %d: %w", t.epoch, err)
	}
	begun := time.Now()
	if err := t.Err(); err != nil {
		return err
	}
	for p := (passage{}); p.step != passServe; {
		var err error
		if p.step == passActivate {
			err = t.writeActive(lineage)
			p.activated()
		} else {
			err = t.reopenFence()
			p.checked(err == nil)
		}
		if err != nil {
			return t.lose(fmt.Errorf("activate: %w", err))
		}
	}
	if err := t.writeLease(false, func(l *lease) bool { l.state = stateServing; return true }); err != nil {
		return err
	}
	t.timing.Open, t.timing.Activate = begun.Sub(t.lap), time.Since(begun)
	took := t.timing
	t.standby.took(took)
	t.node.log.Info("epoch active",
		slog.Uint64("epoch", t.epoch), slog.Int("lineage", len(lineage)), slog.Duration("took", took.Total()))
	return nil
}

func (t *Tenure) checkLineage(lineage []Seal) error {
	if n := activeCapacity(t.pages); len(lineage) > n {
		return fmt.Errorf("a lineage of %d epochs exceeds the %d that its active file was made for", len(lineage), n)
	}
	last := uint64(0)
	for _, s := range lineage {
		if s.Epoch <= last {
			return errors.New("the lineage's epochs do not ascend")
		}
		last = s.Epoch
	}
	if last != t.source.Epoch {
		return fmt.Errorf("the lineage ends with epoch %d, the source is epoch %d", last, t.source.Epoch)
	}
	t.leaseMu.Lock()
	defer t.leaseMu.Unlock()
	if t.activated {
		return errors.New("it is active already")
	}
	t.activated = true
	return nil
}

// writeActive makes the first copy durable, and with it what the lease says so far:
// the journal's first segment. One good copy is enough; see format.go.
func (t *Tenure) writeActive(lineage []Seal) error {
	t.proof = encodeActive(t.pages, t.node.id, t.epoch, lineage)
	path := t.node.path(t.epoch, "active")
	if err := t.node.show(path, t.proof, 0); err != nil {
		return err
	}
	return t.node.settle(path, t.node.path(t.epoch, "lease"))
}

// Settle completes what Activate leaves for when clients are served: the second
// copy of the active file, begun when the first is durable, and the floor. It need
// not be called, and must not be waited for by those who promise. An error ends the
// tenure.
func (t *Tenure) Settle() error {
	t.settling.Do(func() {
		if t.settleErr = t.settle(); t.settleErr != nil {
			t.settleErr = t.lose(fmt.Errorf("settle: %w", t.settleErr))
		}
	})
	return t.settleErr
}

func (t *Tenure) settle() error {
	if t.proof == nil {
		return errors.New("it is not active")
	}
	n := t.node
	active := n.path(t.epoch, "active")
	if err := n.show(active, t.proof, int64(len(t.proof))); err != nil {
		return err
	}
	if err := t.raiseFloor(); err != nil {
		return err
	}
	return n.settle(active, n.path(t.epoch, "lease"), n.floorPath())
}

// raiseFloor spares later epochs what lies below this one: its fences are marked,
// durably, and its lineage is in our active file. A floor that an older epoch
// writes over ours is lower, which costs time and nothing else.
func (t *Tenure) raiseFloor() error {
	path, page := t.node.floorPath(), encodeFloor(t.node.id, t.epoch)
	err := t.node.show(path, page, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = t.node.install(path, page)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // a successor's is higher
	}
	return err
}
