package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Times of a key set's life.
const (
	defaultKeySetRefresh = time.Hour
	keySetRetry          = 30 * time.Second // after a refresh that failed
	keySetPause          = 10 * time.Second // between refreshes that unknown keys ask for
	keySetTimeout        = 10 * time.Second // of a refresh
	keySetFilePause      = time.Second      // between looks at the file
)

// A keySource is where keys come from that may change.
type keySource interface {
	// keys returns those known now, never waiting for a network.
	keys() []tokenKey
	// renew is called for a key that is not among them. It may wait, and does
	// nothing if the keys were looked up a moment ago. An error says that what
	// keys returns may be out of date.
	renew(ctx context.Context) error
}

// A keySetFile is a key set in a file that is read again when it changes. If
// that fails, the keys read before stay.
type keySetFile struct {
	path string
	log  *slog.Logger
	read atomic.Pointer[[]tokenKey]

	mu     sync.Mutex
	looked time.Time
	stamp  fileStamp
}

// A fileStamp changes when a file is written or another takes its place.
type fileStamp struct {
	size     int64
	modified time.Time
}

func openKeySetFile(path string, log *slog.Logger) (*keySetFile, error) {
	f := &keySetFile{path: path, log: log}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.loadLocked(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *keySetFile) keys() []tokenKey {
	// One looks, the others need not wait for a disk.
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if time.Since(f.looked) >= keySetFilePause {
			if err := f.loadLocked(); err != nil {
				f.log.Warn("key set file not read again, its former keys stay", slog.String("file", f.path), slog.Any("err", err))
			}
		}
	}
	return *f.read.Load()
}

func (f *keySetFile) renew(context.Context) error { return nil }

// loadLocked reads the file if it is another than that read last.
func (f *keySetFile) loadLocked() error {
	f.looked = time.Now()
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("key set file: %w", err)
	}
	stamp := fileStamp{info.Size(), info.ModTime()}
	if stamp == f.stamp {
		return nil
	}
	f.stamp = stamp // also of a file that is bad, so that it is reported once
	if stamp.size > maxKeySetBytes {
		return fmt.Errorf("key set file %s of %d bytes: %d is the most", f.path, stamp.size, maxKeySetBytes)
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("key set file: %w", err)
	}
	keys, err := parseKeySet(b, true)
	if err != nil {
		return fmt.Errorf("key set file %s: %w", f.path, err)
	}
	f.read.Store(&keys)
	return nil
}

// A keySetURL is a key set that is fetched, again and again. If that fails, the
// keys fetched before stay: an issuer that is down does not lock out those who
// have tokens.
type keySetURL struct {
	url     string
	shown   string // the url, for logs
	client  *http.Client
	log     *slog.Logger
	fetched atomic.Pointer[[]tokenKey]

	mu     sync.Mutex
	flight chan struct{} // closed at the end of the fetch under way; nil: none
	tried  time.Time     // the start of the last one
	err    error         // its result
}

func newKeySetURL(opt *JWTOptions) (*keySetURL, error) {
	address, err := checkURL("the key set address", opt.JWKSURL)
	if err != nil {
		return nil, err
	}
	if inClear(address) {
		return nil, fmt.Errorf("the key set address %s is not https: whoever is between could give any token a key", redact(address))
	}
	if opt.RefreshInterval == 0 {
		opt.RefreshInterval = defaultKeySetRefresh
	}
	client, err := newHTTPClient(&opt.TLS, 1)
	if err != nil {
		return nil, err
	}
	if opt.transport != nil {
		client.Transport = opt.transport
	}
	return &keySetURL{url: opt.JWKSURL, shown: redact(address), client: client, log: opt.Logger}, nil
}

func (u *keySetURL) keys() []tokenKey {
	if k := u.fetched.Load(); k != nil {
		return *k
	}
	return nil
}

// run fetches until ctx ends: at once, then at every interval, and sooner after
// a failure.
func (u *keySetURL) run(ctx context.Context, interval time.Duration) {
	for {
		wait := interval
		if err := u.fetch(ctx, 0); err != nil && ctx.Err() == nil {
			wait = min(interval, keySetRetry)
			u.log.Warn("key set not fetched, its former keys stay", slog.String("url", u.shown), slog.Any("err", err))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// renew lets unknown keys, which anybody can name, cause one fetch a pause.
func (u *keySetURL) renew(ctx context.Context) error {
	return u.fetch(ctx, keySetPause)
}

// fetch gets the set, joins the fetch under way, or returns the last one's
// result if that began less than pause ago.
func (u *keySetURL) fetch(ctx context.Context, pause time.Duration) error {
	u.mu.Lock()
	if flight := u.flight; flight != nil {
		u.mu.Unlock()
		select {
		case <-flight:
			return u.result()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !u.tried.IsZero() && time.Since(u.tried) < pause {
		defer u.mu.Unlock()
		return u.err
	}
	flight := make(chan struct{})
	u.flight, u.tried = flight, time.Now()
	u.mu.Unlock()

	if pause > 0 {
		ctx = context.WithoutCancel(ctx) // who asked may leave; others have joined
	}
	keys, err := u.get(ctx)
	if err == nil {
		u.fetched.Store(&keys)
	}
	u.mu.Lock()
	u.flight, u.err = nil, err
	u.mu.Unlock()
	close(flight)
	return err
}

func (u *keySetURL) result() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *keySetURL) get(ctx context.Context) ([]tokenKey, error) {
	ctx, cancel := context.WithTimeout(ctx, keySetTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("key set address: %w", withoutURL(err))
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch key set: %w", statusError(resp))
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	if len(b) > maxKeySetBytes {
		return nil, errors.New("fetch key set: it is larger than 1 MiB")
	}
	return parseKeySet(b, false)
}
