package ha

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// What can end Run, for exit codes. Each comes wrapped in a sentence that names
// the file or the node and says what to do.
var (
	// ErrHeld: another broker holds the directory and Standby is off.
	ErrHeld = errors.New("another broker holds the directory")
	// ErrLost: the tenure was lost; the process must end without goodbyes.
	ErrLost = errors.New("tenure lost")
	// ErrDamage: a file under the directory is missing, broken or of another store.
	ErrDamage = errors.New("damaged directory")
	// ErrNewer: a file was written by a newer version of the format.
	ErrNewer = errors.New("directory written by a newer version")
	// ErrNamesake: another living broker on the directory has this node's name.
	ErrNamesake = errors.New("node name is taken")
	// ErrStale: Standby is on, but the directory's file system offers no fresh read.
	ErrStale = errors.New("file system offers no fresh read")
)

// Options say who takes part, and where.
type Options struct {
	// Dir is the shared directory; store.id, ha/ and journal/ live in it. It is
	// made when absent.
	Dir string
	// Node is this node's name. Default: the host name.
	Node string
	// Standby makes Run wait, dark, while another broker lives (--ha). Without
	// it a second broker on the directory gets ErrHeld at once.
	Standby bool
	// TTL is how long a lease may go without renewal. Default 3 s.
	TTL time.Duration
	// Advertise are the addresses clients reach this node at; others see them.
	Advertise []string
	// ConfigHash tells nodes with different configurations apart. It is asked again and
	// again, as a node may take another configuration meanwhile, and must answer at
	// once, always in as many bytes. Nil: nothing is told.
	ConfigHash func() string
	// Preflight tells what would keep this node from serving: a configuration that
	// is not valid, space, permissions. A standby calls it again and again, and once
	// more before it claims; while it fails the node does not contend. It is not
	// called without Standby. Nil: nothing is in the way.
	Preflight func(ctx context.Context) error
	// GiveWay is an epoch that this node has handed over: as long as nobody else has
	// claimed one above it, it leaves the others a ttl for that. 0: none.
	GiveWay uint64
	// DoubtLocks makes a free lock count only when the lease stands still for two
	// renewals, too: for file systems on which locks vanish under living holders.
	DoubtLocks bool
	// SelfKill arms, with Standby, a kernel timer that kills this process when its
	// lease is overdue, even when its runtime is frozen: see [SelfKill].
	SelfKill bool
	// Above returns the highest epoch number found outside ha/ and journal/ (in
	// an index kept elsewhere); the new epoch is above it. Nil: none.
	Above func() (uint64, error)
	// Logger gets role changes and warnings. Default: none.
	Logger *slog.Logger
	// Files is the I/O seam. Nil: the operating system's files.
	Files Files
}

// Seal says that an epoch's journal is history up to Offset, and not beyond.
type Seal struct {
	Epoch  uint64
	Offset uint64
}

// Source is the epoch a new one continues: the highest that was ever active.
//
// Lineage is the history before it. HighestSegment, Promised, BrokerTime and
// Released are what its lease said last, read after its fence was marked; all
// are zero when the lease was torn, which is never fatal. Then, as always where a
// directory listing may be stale, the reader opens segments by number until one
// is not there.
type Source struct {
	Epoch          uint64
	Lineage        []Seal
	HighestSegment uint64    // journal segments are numbered from 1; 0: not named
	Promised       uint64    // offset in Epoch's journal up to which promises were made, at least
	BrokerTime     time.Time // the broker clock when the lease was written
	Released       bool      // it ended orderly: nothing was delivered that it does not know of

	// Silence is how long ago that was, at least: for how long this node has seen
	// the last holder's lease stand still, or exactly, if that ran in the same boot of
	// this host. The broker clock goes on from BrokerTime and Silence.
	Silence time.Duration
}

// Run brings this node to an epoch of its own and calls active with it; the
// body of active is the broker's life as primary.
//
// While another broker lives, Run returns ErrHeld or, with Standby, calls follow
// (which may be nil) and waits; follow's context ends when it is this node's
// turn, and Run goes on once follow has returned, which should be soon. If another
// was faster, follow is called again. Its [Standby] tells it whom and what to
// follow, and takes how far it has come. An error of follow ends Run, as does the
// end of ctx, with its cause.
//
// The context of active ends with ctx, or with the tenure: then context.Cause is
// Tenure.Err. When active returns nil the epoch is released, so that a successor
// need not wait; when it returns an error the epoch is left as failed. A tenure
// that was lost makes Run return an error that is ErrLost whatever active
// returned.
func Run(ctx context.Context, opt Options, follow func(ctx context.Context, s *Standby) error, active func(ctx context.Context, t *Tenure) error) error {
	n, err := newNode(opt)
	if err != nil {
		return err
	}
	return n.run(ctx, follow, active)
}
