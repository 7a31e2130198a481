package memstore_test

import (
	"errors"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/storetest"
	"github.com/batonmq/baton/persistence/memstore"
)

// harness is a memory store's Disk.
type harness struct{ disk *memstore.Disk }

func (h harness) Open(testing.TB) core.Store { return memstore.Open(memstore.Options{Disk: h.disk}) }

func (h harness) Crash(_ testing.TB, s core.Store) { s.(*memstore.Store).Crash() }

func (h harness) Break(_ testing.TB, s core.Store) error {
	err := errors.New("the disk is gone")
	s.(*memstore.Store).Fail(err)
	return err
}

func TestStoreContract(t *testing.T) {
	storetest.Run(t, func(testing.TB) storetest.Harness { return harness{memstore.NewDisk()} })
}
