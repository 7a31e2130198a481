package listen

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"
)

// Why a verified certificate is refused.
var (
	errRevoked  = errors.New("it has been revoked")
	errStaleCRL = errors.New("the revocation list of its issuer is out of date")
)

// reasonRemoved takes an entry back, in a list of changes (RFC 5280 5.3.1).
const reasonRemoved = 8

// revocations are what the revocation lists say. The zero value revokes nothing.
//
// Lists belong to their issuer's name, and what several lists of one name say
// adds up: authorities split large lists, and renew their keys. Indirect lists,
// which speak of certificates of other issuers, are not known.
type revocations struct {
	lists       map[string]*revocationList // by the issuer's raw name
	refuseStale bool
}

type revocationList struct {
	issuer  string // for messages
	file    string // of the newest
	serials map[string]struct{}
	update  time.Time // the newest list's
	until   time.Time // when the next one was due; zero: never
}

// readRevocations reads lists and checks that an authority has signed each.
func readRevocations(files []string, cas []*x509.Certificate, refuseStale bool) (revocations, error) {
	r := revocations{lists: make(map[string]*revocationList), refuseStale: refuseStale}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return revocations{}, fmt.Errorf("read the revocation list: %w", err)
		}
		ders, err := crlBlocks(text)
		if err != nil {
			return revocations{}, fmt.Errorf("revocation list %s: %w", file, err)
		}
		for _, der := range ders {
			if err := r.add(file, der, cas); err != nil {
				return revocations{}, fmt.Errorf("revocation list %s: %w", file, err)
			}
		}
	}
	return r, nil
}

// crlBlocks returns the lists in a file: the blocks of PEM, or all of it.
func crlBlocks(text []byte) ([][]byte, error) {
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		return [][]byte{text}, nil
	}
	var ders [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == pemCRL {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 {
		return nil, errors.New("no revocation list in it")
	}
	return ders, nil
}

func (r *revocations) add(file string, der []byte, cas []*x509.Certificate) error {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	if err := signed(crl, cas); err != nil {
		return err
	}
	l := r.lists[string(crl.RawIssuer)]
	if l == nil {
		l = &revocationList{issuer: crl.Issuer.String(), serials: make(map[string]struct{})}
		r.lists[string(crl.RawIssuer)] = l
	}
	if l.file == "" || crl.ThisUpdate.After(l.update) {
		l.file, l.update, l.until = file, crl.ThisUpdate, crl.NextUpdate
	}
	for _, e := range crl.RevokedCertificateEntries {
		if e.ReasonCode != reasonRemoved {
			l.serials[string(e.SerialNumber.Bytes())] = struct{}{}
		}
	}
	return nil
}

// signed checks the signature of a list. Authorities may share a name while one
// key follows another.
func signed(crl *x509.RevocationList, cas []*x509.Certificate) error {
	err := fmt.Errorf("its issuer %s is not in the authority file: add its certificate there", crl.Issuer)
	for _, ca := range cas {
		if !bytes.Equal(ca.RawSubject, crl.RawIssuer) {
			continue
		}
		if err = crl.CheckSignatureFrom(ca); err == nil {
			return nil
		}
		err = fmt.Errorf("it is not signed by %s: %w", crl.Issuer, err)
	}
	return err
}

// check refuses a peer of whose chains none is without a revoked certificate.
// Every certificate is looked up, also the last: an intermediate authority may
// be trusted by itself, and be revoked by the root all the same.
func (r *revocations) check(chains [][]*x509.Certificate, now time.Time) error {
	if len(r.lists) == 0 {
		return nil
	}
	var first error
	for _, chain := range chains {
		err := r.checkChain(chain, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (r *revocations) checkChain(chain []*x509.Certificate, now time.Time) error {
	for _, c := range chain {
		l := r.lists[string(c.RawIssuer)]
		if l == nil {
			continue
		}
		if _, revoked := l.serials[string(c.SerialNumber.Bytes())]; revoked {
			return fmt.Errorf("certificate %s, serial number %x: %w", subject(c), c.SerialNumber, errRevoked)
		}
		if r.refuseStale && l.stale(now) {
			return fmt.Errorf("certificate %s: %w (%s, due %s)", subject(c), errStaleCRL, l.file, l.until.Format(time.RFC3339))
		}
	}
	return nil
}

func (l *revocationList) stale(now time.Time) bool { return !l.until.IsZero() && now.After(l.until) }

func (r *revocations) complain(log *slog.Logger, now time.Time) {
	for _, l := range r.lists {
		if l.stale(now) {
			log.Warn("revocation list is out of date", slog.String("file", l.file), slog.String("issuer", l.issuer),
				slog.Time("next_update", l.until), slog.Bool("clients_refused", r.refuseStale))
		}
	}
}

func (r *revocations) stats() []RevocationList {
	var all []RevocationList
	for _, l := range r.lists {
		all = append(all, RevocationList{Issuer: l.issuer, File: l.file, Revoked: len(l.serials), Due: l.until})
	}
	slices.SortFunc(all, func(a, b RevocationList) int { return cmp.Compare(a.Issuer, b.Issuer) })
	return all
}
