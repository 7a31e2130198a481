package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// bareTime is how long a bare file is written to, before a run and after it.
	bareTime = 300 * time.Millisecond
	// bareSize is what it is given at a time, and fenceSize what is read of
	// another file.
	bareSize  = 1024
	fenceSize = 64
)

// bareSync is what the disk takes for one durable message at least: an append to a file,
// a sync of its data, and a read of another file, as a broker with a fence does.
type bareSync struct {
	latencies
	dir string // "": it is not measured
}

// bareSync measures the first half.
func (r *run) bareSync(ctx context.Context) (bareSync, error) {
	b := bareSync{latencies: newLatencies(), dir: r.SyncDir}
	return b, b.again(ctx)
}

func (b bareSync) again(ctx context.Context) (err error) {
	if b.dir == "" {
		return nil
	}
	dir, err := os.MkdirTemp(b.dir, "baton-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for a bare file: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fence := filepath.Join(dir, "fence")
	if err := os.WriteFile(fence, make([]byte, fenceSize), 0o600); err != nil {
		return fmt.Errorf("write a bare file: %w", err)
	}
	read, err := os.Open(fence)
	if err != nil {
		return fmt.Errorf("read a bare file: %w", err)
	}
	defer func() { _ = read.Close() }() // it is not written
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return fmt.Errorf("write a bare file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return b.write(ctx, f, read)
}

func (b bareSync) write(ctx context.Context, f, fence *os.File) error {
	body, guard := randomBody(bareSize), make([]byte, fenceSize)
	for start, now := time.Now(), time.Now(); now.Sub(start) < bareTime; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if _, err := f.Write(body); err != nil {
			return fmt.Errorf("write a bare file: %w", err)
		}
		if err := syncData(f); err != nil {
			return fmt.Errorf("sync a bare file: %w", err)
		}
		if _, err := fence.ReadAt(guard, 0); err != nil {
			return fmt.Errorf("read a bare file: %w", err)
		}
		began := now
		now = time.Now()
		b.record(now.Sub(began))
	}
	return nil
}
