package index

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// memTableSize is how much Badger gathers in memory before it writes a table. Three things hang on it: the time to open, because the log
// of the same size is read again after a crash; the memory held, which is that of the memtables and of the table builders' buffers,
// about as large; and how much is written twice. An index is written in bursts of a few MiB every few seconds, most of which
// later bursts delete again. Measured with 8, 16, 32 and 64 MiB, an index of 1,000 chunks of 20 KiB opens after a crash in 11, 29, 37
// and 59 ms, an empty one in 5, 8, 8 and 14 ms; after 200 MiB of checkpoints without a pause the files mapped are 52, 62, 99
// and 280 MB and the tables 39, 38, 53 and 193 MB for 20 MB that live; a checkpoint of 2 MiB takes the same with each. So the smallest
// that MaxValue allows: Badger takes no transaction above 15 % of it, nor a value threshold.
const memTableSize = 8 << 20

// txnBytes is how much one transaction carries. Badger allows 15 % of memTableSize. Larger transactions mean fewer syncs; smaller
// ones would have each sync write far more than its own bytes, because a store into the mapped log dirties a whole large folio.
const txnBytes = 1 << 20

// badgerOptions returns how Badger is run in dir.
func badgerOptions(dir string, logger badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		// A sync after each transaction, of the log it went to. The alternative, one DB.Sync at the end, syncs the newest log alone:
		// what went to a log that was full in between would be lost with the power.
		WithSyncWrites(true).
		// Everything lives in the tree. Values in the value log are reclaimed only after compactions that an index which mostly
		// deletes hardly causes, and errors of its sync are not reported. MaxValue keeps every value below the threshold.
		WithValueThreshold(1 << 20).
		// Never written to, but Badger makes and maps one file of twice this size: the smallest it allows.
		WithValueLogFileSize(1 << 20).
		WithMemTableSize(memTableSize).
		WithNumMemtables(3).
		// A checkpoint waits when compaction does not follow; so the default distance between the two.
		WithNumLevelZeroTables(5).
		WithNumLevelZeroTablesStall(15).
		// Fewer files than with the default 2 MiB, each of which is opened at start. It hardly matters for memory: Badger keeps up to eight
		// buffers of its table builders, which grow to 24 MiB each where values are longer than a block of 4 KiB, whatever this is
		// (measured while 10,000 chunks were written without a pause: 350, 346 and 274 MB held with 2, 4 and 8 MiB and
		// chunks of 11 KiB; 36 to 38 MB with chunks of 4 KiB, 11 MB with chunks of 300 bytes). So chunks are to be short.
		WithBaseTableSize(4 << 20).
		WithNumCompactors(2).
		// Keys are never written twice, except the root's, of which only the newest counts.
		WithNumVersionsToKeep(1).
		// There is one writer.
		WithDetectConflicts(false).
		// Compression needs a block cache, costs CPU and memory, and chunks are compact already.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		// Badger's own verification turns one bad block into the silent end of an iteration, or a nil pointer. Our checksum is in
		// every key and the root accounts for every key, so that what is read is what was written, or damage.
		WithChecksumVerificationMode(options.NoVerification).
		// Badger locks its directory with flock on the directory, which does not exclude another host on some network file
		// systems. The slot has a lock of its own, on a file.
		WithBypassLockGuard(true).
		// Nobody reads its counters.
		WithMetricsEnabled(false).
		WithLogger(logger)
}

// openDB opens Badger. A panic of its own while it reads damaged files is an error like any other.
func (x *Index) openDB() (db *badger.DB, err error) {
	defer caught(&err, "open badger")
	if err := verifyTables(x.dbDir(), x.slot.opens() > suspectAfter); err != nil {
		return nil, err
	}
	x.events = &events{x: x}
	db, err = badger.Open(badgerOptions(x.dbDir(), x.events))
	if err == nil {
		if said := x.events.opened(); said != "" {
			_ = db.Close() // it is about to be thrown away
			return nil, fmt.Errorf("open badger: it reported %q", said)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open badger: %w", err)
	}
	return db, nil
}

// caught turns a panic in Badger's code, on our goroutine, into an error: it runs on bytes that may be damaged.
func caught(err *error, doing string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: panic: %v", doing, p)
	}
}

// events is Badger's Logger, and the only way to learn that its background work has failed: a flush or a compaction that meets an I/O
// error is tried again for ever and meanwhile leaves the files on disk at odds with each other.
type events struct {
	x *Index

	mu      sync.Mutex
	started bool
	muted   bool   // what is said is about something that is thrown away
	said    string // the first trouble while Badger was opening
}

// opened ends the time in which trouble is an error of Open, and returns it.
func (e *events) opened() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = true
	return e.said
}

// mute ends the interest in what Badger says.
func (e *events) mute() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.muted = true
}

func (e *events) trouble(format string, args []any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	e.mu.Lock()
	fatal := e.started && !e.muted
	if e.said == "" {
		e.said = text
	}
	e.mu.Unlock()
	if fatal {
		e.x.fail(fmt.Errorf("badger reported %q", text))
	}
}

// Errorf implements badger.Logger.
func (e *events) Errorf(format string, args ...any) { e.trouble(format, args) }

// Warningf implements badger.Logger. A compaction that failed is only a warning to Badger.
func (e *events) Warningf(format string, args ...any) {
	if strings.Contains(strings.ToLower(format), "compact") {
		e.trouble(format, args)
		return
	}
	e.x.log.Warn("badger warns", slog.String("text", fmt.Sprintf(format, args...)))
}

// Infof implements badger.Logger.
func (e *events) Infof(string, ...any) {}

// Debugf implements badger.Logger.
func (e *events) Debugf(string, ...any) {}
