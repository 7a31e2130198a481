package persistence

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/batonmq/baton/persistence/journal"
)

// LineageOf reads from an epoch's journal in dir which store it is of, and the history that the epoch continues: see journal.LineageOf.
func LineageOf(dir string, epoch uint64) (store [16]byte, lineage []Seal, err error) {
	if epoch == 0 || epoch > math.MaxUint32 {
		return store, nil, fmt.Errorf("epoch %d is out of range", epoch)
	}
	return journal.LineageOf(journal.OSFiles(), filepath.Join(dir, "journal"), uint32(epoch))
}
