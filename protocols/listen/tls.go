package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultPollInterval is how long a changed file may go unnoticed.
	DefaultPollInterval = 5 * time.Second

	// expiryNotice is how long before its end a certificate is first complained
	// of: time enough for a human, and less than what is left of a 90-day
	// certificate when an automatic renewal is due.
	expiryNotice = 14 * 24 * time.Hour

	// complainEvery repeats complaints about certificates and revocation lists
	// that nobody has replaced.
	complainEvery = 24 * time.Hour
)

// ClientAuth says what is wanted of client certificates.
type ClientAuth uint8

// What is wanted of client certificates.
const (
	ClientAuthNone    ClientAuth = iota // none is asked for
	ClientAuthRequest                   // one may be given, and is verified then
	ClientAuthRequire                   // there must be one, and it is verified
)

// String returns the word that configurations use.
func (a ClientAuth) String() string {
	switch a {
	case ClientAuthNone:
		return "none"
	case ClientAuthRequest:
		return "request"
	case ClientAuthRequire:
		return "require"
	}
	return fmt.Sprintf("ClientAuth(%d)", uint8(a))
}

// A KeyPair names the PEM files of a certificate, followed by its intermediates,
// and of its key.
type KeyPair struct{ CertFile, KeyFile string }

// TLSOptions says from which files a [TLS] is made, and how strict it is.
type TLSOptions struct {
	// KeyPairs are the server's certificates. A client gets the one for the
	// name it asks for; the first is for clients that ask for none, or for a
	// name that no certificate has. At least one.
	KeyPairs []KeyPair

	// CAFile holds the certificates that client certificates must lead to.
	// Required with ClientAuthRequest and ClientAuthRequire.
	CAFile string

	// ClientAuth says what is wanted of client certificates.
	ClientAuth ClientAuth

	// CRLFiles hold revocation lists, in PEM (several in a file) or DER, each
	// signed by a certificate of CAFile.
	CRLFiles []string

	// RefuseStale refuses client certificates whose issuer's revocation list
	// is older than it says it may get. False only warns of such a list.
	RefuseStale bool

	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13; zero is the former.
	MinVersion uint16

	// PollInterval is how often Watch looks at the files. Zero is
	// DefaultPollInterval.
	PollInterval time.Duration

	// Log receives what happens to the files; nil discards it.
	Log *slog.Logger
}

func (o *TLSOptions) validate() error {
	for _, p := range o.KeyPairs {
		if p.CertFile == "" || p.KeyFile == "" {
			return fmt.Errorf("tls: certificate file %q goes with key file %q: both are needed", p.CertFile, p.KeyFile)
		}
	}
	switch {
	case len(o.KeyPairs) == 0:
		return errors.New("tls: no certificate: name a certificate file and its key file")
	case o.ClientAuth > ClientAuthRequire:
		return fmt.Errorf("tls: unknown client authentication %v", o.ClientAuth)
	case o.ClientAuth != ClientAuthNone && o.CAFile == "":
		return fmt.Errorf("tls: client certificates (%v) cannot be verified without a CA file", o.ClientAuth)
	case o.ClientAuth == ClientAuthNone && (o.CAFile != "" || len(o.CRLFiles) > 0):
		// Whoever names a CA believes that clients are verified.
		return errors.New("tls: a CA file or revocation list is named, but no client certificate is asked for: set client authentication to request or require")
	case o.MinVersion != 0 && o.MinVersion != tls.VersionTLS12 && o.MinVersion != tls.VersionTLS13:
		return fmt.Errorf("tls: lowest version %s: only 1.2 and 1.3 are served", tls.VersionName(o.MinVersion))
	case o.PollInterval < 0:
		return fmt.Errorf("tls: poll interval %v is negative", o.PollInterval)
	}
	return nil
}

func (o *TLSOptions) setDefaults() {
	o.KeyPairs, o.CRLFiles = slices.Clone(o.KeyPairs), slices.Clone(o.CRLFiles)
	if o.MinVersion == 0 {
		o.MinVersion = tls.VersionTLS12
	}
	if o.PollInterval == 0 {
		o.PollInterval = DefaultPollInterval
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// files are all that the options name.
func (o *TLSOptions) files() []string {
	var names []string
	for _, p := range o.KeyPairs {
		names = append(names, p.CertFile, p.KeyFile)
	}
	if o.CAFile != "" {
		names = append(names, o.CAFile)
	}
	return append(names, o.CRLFiles...)
}

// A TLS is what the TLS listeners of a process share: certificates, authorities
// and revocation lists, as they were last read from their files. Its methods may
// be called from any goroutine.
type TLS struct {
	opt TLSOptions

	set           atomic.Pointer[trust] // never nil
	reloads       atomic.Uint64
	reloadsFailed atomic.Uint64

	counting   sync.Mutex             // a leaf
	handshakes map[string]*handshakes // by the listener's name

	mu         sync.Mutex    // one look at the files at a time
	stamps     []os.FileInfo // of the files as they were last read, nil where there was none
	failure    string        // of the last reload; empty: it succeeded
	complained time.Time
}

// TLSStats says what has become of the files, and of the connections.
type TLSStats struct {
	Loaded        time.Time           // when what is in use was read
	Reloads       uint64              // that succeeded, not counting the first load
	ReloadsFailed uint64              // what was in use before stayed in use
	Certificates  []*x509.Certificate // the server's own, the first being the default, each followed by the intermediates sent with it
	Revocations   []RevocationList    // by issuer
	Handshakes    []HandshakeStats    // by listener
}

// HandshakeStats counts the handshakes of listeners of one name.
type HandshakeStats struct {
	Listener  string
	Succeeded uint64
	Failed    [handshakeFailures]uint64 // by HandshakeFailure
}

// A RevocationList is what the lists of one issuer say together.
type RevocationList struct {
	Issuer  string
	File    string    // of the newest
	Revoked int       // certificates
	Due     time.Time // when the next list should be there; zero: it is not said
}

// OpenTLS reads the files.
func OpenTLS(opt TLSOptions) (*TLS, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	t := &TLS{opt: opt}
	t.mu.Lock()
	defer t.mu.Unlock()
	set, err := t.readLocked()
	if err != nil {
		return nil, err
	}
	t.set.Store(set)
	t.complainLocked()
	return t, nil
}

// Reload reads the files again, whether they seem changed or not. On an error
// all stays as it was. Open connections are left alone either way; sessions
// that clients would resume are not: every connection from now on makes its
// handshake with what was read.
func (t *TLS) Reload() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reloadLocked()
}

func (t *TLS) reloadLocked() error {
	set, err := t.readLocked()
	if err != nil {
		t.reloadsFailed.Add(1)
		if err.Error() != t.failure { // once per mistake, not once per poll
			t.opt.Log.Error("TLS files not reloaded, the old ones stay in use", slog.Any("err", err))
		}
		t.failure = err.Error()
		return err
	}
	t.failure = ""
	t.set.Store(set)
	t.reloads.Add(1)
	t.opt.Log.Info("TLS files reloaded", slog.Int("certificates", len(set.certs)),
		slog.Time("first_expires", set.firstExpiry()))
	t.complainLocked()
	return nil
}

// Watch looks at the files every PollInterval until ctx ends, and reloads them
// when one has changed. It polls because certificates are rotated by swapping a
// symbolic link some levels up, which file notification does not tell.
func (t *TLS) Watch(ctx context.Context) {
	tick := time.NewTicker(t.opt.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.poll()
		}
	}
}

func (t *TLS) poll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	// After a failure the files are read although they look the same: a mode
	// that was mended, or a disk that answers again, changes no stamp.
	if t.failure != "" || !sameFiles(t.stamps, stampFiles(t.opt.files())) {
		_ = t.reloadLocked() // logged there
	}
	if time.Since(t.complained) >= complainEvery {
		t.complainLocked()
	}
}

// readLocked reads all files. Where they change meanwhile it begins again: a
// certificate of before a swap does not fit a key of after it.
func (t *TLS) readLocked() (set *trust, err error) {
	names := t.opt.files()
	before := stampFiles(names)
	for range 3 {
		set, err = readTrust(&t.opt)
		after := stampFiles(names)
		stable := sameFiles(before, after)
		before = after
		if stable {
			break
		}
	}
	t.stamps = before
	return set, err
}

// complainLocked logs what somebody should replace soon.
func (t *TLS) complainLocked() {
	t.complained = time.Now()
	t.set.Load().complain(t.opt.Log, t.complained)
}

// stampFiles describes files so that a change shows; nil where there is none.
func stampFiles(names []string) []os.FileInfo {
	stamps := make([]os.FileInfo, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			stamps[i] = info
		}
	}
	return stamps
}

func sameFiles(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(x, y os.FileInfo) bool {
		if x == nil || y == nil {
			return x == nil && y == nil
		}
		return os.SameFile(x, y) && x.Size() == y.Size() && x.ModTime().Equal(y.ModTime())
	})
}

// Stats returns what is in use now.
func (t *TLS) Stats() TLSStats {
	set := t.set.Load()
	s := TLSStats{Loaded: set.loaded, Reloads: t.reloads.Load(), ReloadsFailed: t.reloadsFailed.Load()}
	for _, c := range set.certs {
		s.Certificates = append(append(s.Certificates, c.Leaf), intermediates(c)...)
	}
	s.Revocations = set.revoked.stats()
	t.counting.Lock()
	defer t.counting.Unlock()
	for name, n := range t.handshakes {
		s.Handshakes = append(s.Handshakes, HandshakeStats{Listener: name, Succeeded: n.succeeded.Load(), Failed: n.failures()})
	}
	slices.SortFunc(s.Handshakes, func(a, b HandshakeStats) int { return cmp.Compare(a.Listener, b.Listener) })
	return s
}

// intermediates are the certificates that are sent with c and can be read.
func intermediates(c *tls.Certificate) (all []*x509.Certificate) {
	for _, der := range c.Certificate[1:] {
		if parsed, err := x509.ParseCertificate(der); err == nil {
			all = append(all, parsed)
		}
	}
	return all
}

// handshakes are those of the listeners of one name.
type handshakes struct {
	succeeded atomic.Uint64
	failed    [handshakeFailures]atomic.Uint64
}

func (n *handshakes) failures() (all [handshakeFailures]uint64) {
	for i := range n.failed {
		all[i] = n.failed[i].Load()
	}
	return all
}

// countersOf returns where listeners of a name count. They go on with the next
// listener of that name.
func (t *TLS) countersOf(name string) *handshakes {
	t.counting.Lock()
	defer t.counting.Unlock()
	n := t.handshakes[name]
	if n == nil {
		n = new(handshakes)
		if t.handshakes == nil {
			t.handshakes = make(map[string]*handshakes)
		}
		t.handshakes[name] = n
	}
	return n
}

// server starts TLS on an accepted connection; its handshake, of so many bytes at
// most, is still to come.
func (t *TLS) server(conn net.Conn, alpn []string, handshake int) *tls.Conn {
	// The configuration goes with the trust that it was made of. What
	// tls.Config.GetConfigForClient returned would share its ticket keys
	// across reloads, and a ticket would outlive the authority it came from.
	return tls.Server(transport(conn, handshake), t.set.Load().config(alpn))
}

// TLSVersion is RabbitMQ's name of a version of TLS, as tlsv1.3.
func TLSVersion(version uint16) string {
	return strings.Replace(strings.ToLower(tls.VersionName(version)), "tls ", "tlsv", 1)
}

// TLSState returns what a connection's TLS has agreed on: peer certificates,
// version, cipher suite, the name the client asked for. It is false for a
// connection without TLS. A wrapper is looked through that has a method NetConn,
// as those of crypto/tls have.
func TLSState(conn net.Conn) (tls.ConnectionState, bool) {
	for {
		switch c := conn.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			return c.ConnectionState(), true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return tls.ConnectionState{}, false
		}
	}
}

// alpnKey is a list of protocols as a map's key.
func alpnKey(alpn []string) string { return strings.Join(alpn, "\x00") }
