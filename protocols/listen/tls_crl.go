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

// revocations are what the revocation lists say. The zero value revokes nothing.
//
// Lists belong to their issuer's name, and what several lists of one name say
// adds up: authorities split large lists into parts, and renew their keys. Of one
// part only the newest list counts, with the lists of changes (delta lists) that
// are newer. A list that cannot be understood as a whole is refused, as RFC 5280
// 5.2 wants: indirect ones, which speak of certificates of other issuers, those of
// attribute certificates, and those with a critical extension that is not known.
type revocations struct {
	issuers     map[string]*issuerLists // by raw name
	refuseStale bool
}

// issuerLists are the lists of one issuer.
type issuerLists struct {
	name  string // for messages
	parts map[string]*revocationList
}

// revocationList is what the lists of one part say together.
type revocationList struct {
	file    string // of the newest
	key     []byte // identifies the issuer's key; empty: it is not said
	serials map[string]struct{}
	update  time.Time // the newest list's
	until   time.Time // when the next one was due; zero: never
}

// readRevocations reads lists and checks that an authority has signed each.
func readRevocations(files []string, cas []*x509.Certificate, refuseStale bool) (revocations, error) {
	var all []*readList
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
			l, err := parseList(file, der, cas)
			if err != nil {
				return revocations{}, fmt.Errorf("revocation list %s: %w", file, err)
			}
			all = append(all, l)
		}
	}
	// Complete lists first, then changes, each in the order of their making.
	slices.SortStableFunc(all, func(a, b *readList) int {
		switch {
		case a.changes != b.changes && a.changes:
			return 1
		case a.changes != b.changes:
			return -1
		}
		return a.crl.ThisUpdate.Compare(b.crl.ThisUpdate)
	})
	r := revocations{issuers: make(map[string]*issuerLists), refuseStale: refuseStale}
	for _, l := range all {
		if err := r.add(l); err != nil {
			return revocations{}, fmt.Errorf("revocation list %s: %w", l.file, err)
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

// add puts a list in force, after those that are older.
func (r *revocations) add(l *readList) error {
	crl := l.crl
	i := r.issuers[string(crl.RawIssuer)]
	if i == nil {
		i = &issuerLists{name: crl.Issuer.String(), parts: make(map[string]*revocationList)}
		r.issuers[string(crl.RawIssuer)] = i
	}
	part := i.parts[l.part]
	switch {
	case !l.changes: // instead of an older one
		part = &revocationList{key: crl.AuthorityKeyId, serials: make(map[string]struct{}, len(crl.RevokedCertificateEntries))}
		i.parts[l.part] = part
	case part == nil:
		return errors.New("it is a list of changes, and the complete list is missing: name both")
	case crl.ThisUpdate.Before(part.update):
		return nil // the complete list has them
	}
	part.file, part.update, part.until = l.file, crl.ThisUpdate, crl.NextUpdate
	for n := range crl.RevokedCertificateEntries {
		e := &crl.RevokedCertificateEntries[n]
		if serial := string(e.SerialNumber.Bytes()); e.ReasonCode == reasonRemoved {
			delete(part.serials, serial)
		} else {
			part.serials[serial] = struct{}{}
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
	if len(r.issuers) == 0 {
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
		i := r.issuers[string(c.RawIssuer)]
		if i == nil {
			continue
		}
		serial := c.SerialNumber.Bytes()
		for _, l := range i.parts {
			if _, revoked := l.serials[string(serial)]; revoked {
				return fmt.Errorf("certificate %s, serial number %x: %w", subject(c), c.SerialNumber, errRevoked)
			}
		}
		if !r.refuseStale {
			continue
		}
		for _, l := range i.parts {
			if l.stale(now) && l.concerns(c) {
				return fmt.Errorf("certificate %s: %w (%s, due %s)", subject(c), errStaleCRL, l.file, l.until.Format(time.RFC3339))
			}
		}
	}
	return nil
}

// concerns reports whether the list may be that of the certificate, as far as the
// issuer's key tells.
func (l *revocationList) concerns(c *x509.Certificate) bool {
	key := c.AuthorityKeyId
	if len(key) == 0 && bytes.Equal(c.RawIssuer, c.RawSubject) {
		key = c.SubjectKeyId // it has signed itself
	}
	return len(l.key) == 0 || len(key) == 0 || bytes.Equal(l.key, key)
}

func (l *revocationList) stale(now time.Time) bool { return !l.until.IsZero() && now.After(l.until) }

func (r *revocations) complain(log *slog.Logger, now time.Time) {
	for _, i := range r.issuers {
		for _, l := range i.parts {
			if l.stale(now) {
				log.Warn("revocation list is out of date", slog.String("file", l.file), slog.String("issuer", i.name),
					slog.Time("next_update", l.until), slog.Bool("clients_refused", r.refuseStale))
			}
		}
	}
}

func (r *revocations) stats() []RevocationList {
	var all []RevocationList
	for _, i := range r.issuers {
		s := RevocationList{Issuer: i.name}
		for _, l := range i.parts {
			s.Revoked += len(l.serials)
			if s.File == "" || s.Due.IsZero() || !l.until.IsZero() && l.until.Before(s.Due) {
				s.File, s.Due = l.file, l.until
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b RevocationList) int { return cmp.Compare(a.Issuer, b.Issuer) })
	return all
}
