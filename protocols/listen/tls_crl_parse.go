package listen

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// readList is a revocation list as it is in a file.
type readList struct {
	file    string
	crl     *x509.RevocationList
	part    string // which of its issuer's lists it is
	changes bool   // it tells what has changed since a complete one
}

// reasonRemoved takes an entry back, in a list of changes (RFC 5280 5.3.1).
const reasonRemoved = 8

// Extensions of lists and of their entries, RFC 5280 5.2 and 5.3.
const (
	idReason            = "2.5.29.21"
	idDeltaIndicator    = "2.5.29.27"
	idDistributionPoint = "2.5.29.28"
	idCertificateIssuer = "2.5.29.29"
)

var errIndirect = errors.New("it is an indirect list, of certificates of other issuers: these are not supported, name each issuer's own")

// distributionPoint is what a list is about (RFC 5280 5.2.5).
type distributionPoint struct {
	Name       asn1.RawValue  `asn1:"optional,tag:0"`
	Users      bool           `asn1:"optional,tag:1"`
	CAs        bool           `asn1:"optional,tag:2"`
	Reasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect   bool           `asn1:"optional,tag:4"`
	Attributes bool           `asn1:"optional,tag:5"`
}

// parseList reads a list, checks who has signed it, and that nothing in it asks
// for what is not done here.
func parseList(file string, der []byte, cas []*x509.Certificate) (*readList, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if err := signed(crl, cas); err != nil {
		return nil, err
	}
	l := &readList{file: file, crl: crl}
	var scope []byte
	for _, e := range crl.Extensions {
		switch id := e.Id.String(); {
		case id == idDeltaIndicator:
			l.changes = true
		case id == idDistributionPoint:
			scope = e.Value
			if err := checkDistributionPoint(e.Value); err != nil {
				return nil, err
			}
		case e.Critical:
			return nil, fmt.Errorf("its critical extension %s is not known", id)
		}
	}
	l.part = string(bytes.Join([][]byte{crl.AuthorityKeyId, scope}, []byte{0}))
	for i := range crl.RevokedCertificateEntries {
		if err := checkEntry(crl.RevokedCertificateEntries[i].Extensions); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func checkDistributionPoint(der []byte) error {
	var p distributionPoint
	switch rest, err := asn1.Unmarshal(der, &p); {
	case err != nil:
		return fmt.Errorf("its distribution point: %w", err)
	case len(rest) > 0:
		return errors.New("its distribution point is followed by something")
	case p.Indirect:
		return errIndirect
	case p.Attributes:
		return errors.New("it is a list of attribute certificates")
	}
	return nil
}

func checkEntry(extensions []pkix.Extension) error {
	for _, e := range extensions {
		switch id := e.Id.String(); {
		case id == idCertificateIssuer:
			return errIndirect
		case e.Critical && id != idReason:
			return fmt.Errorf("the critical extension %s of an entry is not known", id)
		}
	}
	return nil
}
