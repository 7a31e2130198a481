package interop

import (
	"path/filepath"
	"testing"
)

// TestStormUntilDiskAlarm is TestStormUntilMemoryAlarm until the disk is short of space.
func TestStormUntilDiskAlarm(t *testing.T) {
	disk := newSmallDisk(t)
	b, log := ownBroker(t)
	b.Dir = filepath.Join(disk.mount, "data")
	b.Env = []string{"BATON_STORE_SEGMENT_SIZE=4MiB", "BATON_STORE_FREE_FULL=16MiB", "BATON_STORE_FREE_LOW=100MiB", "BATON_STORE_FREE_HIGH=120MiB", "BATON_STORE_CHECKPOINT_EVERY=1s"}
	t.Cleanup(func() { must(t, b.Close()) }) // before the disk goes
	start(t, b, log)
	s := &storm{b: b, durable: true}
	s.pass(t, "disk", "rabbitmq_alarms_free_disk_space_watermark")
}
