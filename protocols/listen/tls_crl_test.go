package listen

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
)

// extension is one of a list, with a value as it is.
func extension(tb testing.TB, id string, critical bool, value any) pkix.Extension {
	tb.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return pkix.Extension{Id: objectID(tb, id), Critical: critical, Value: der}
}

func objectID(tb testing.TB, text string) (id asn1.ObjectIdentifier) {
	tb.Helper()
	for arc := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil {
			tb.Fatal(err)
		}
		id = append(id, n)
	}
	return id
}

// Several lists of one issuer: parts add up, a newer list of a part takes the place of the older one whatever the order of the files,
// and changes are made to the complete list that they belong to.
func TestRevocations_SeveralListsOfOneIssuer(t *testing.T) {
	root := newAuthority(t, "root", nil)
	renewed := newAuthority(t, "root", nil) // the same name, another key
	client, other := root.client(t, "client"), root.client(t, "other")
	now := time.Now()
	const hold, removed = 6, reasonRemoved
	list := func(hours int, revoked *authority, reason int, extensions ...pkix.Extension) []byte {
		l := &x509.RevocationList{
			Number: big.NewInt(serials.Add(1)), ThisUpdate: now.Add(time.Duration(hours-24) * time.Hour),
			NextUpdate: now.Add(time.Duration(hours) * time.Hour), ExtraExtensions: extensions,
		}
		if revoked != nil {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: revoked.cert.SerialNumber, RevocationTime: l.ThisUpdate, ReasonCode: reason,
			}}
		}
		return root.sign(t, l)
	}
	part := func(bit byte) pkix.Extension { // as one list for clients and one for authorities
		return extension(t, idDistributionPoint, true, []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: int(bit), Bytes: []byte{0xFF}}})
	}
	changes := extension(t, idDeltaIndicator, true, big.NewInt(1))
	const users, cas, indirect, attributes = 1, 2, 4, 5
	foreign := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{
			SerialNumber: client.cert.SerialNumber, RevocationTime: now,
			ExtraExtensions: []pkix.Extension{extension(t, idCertificateIssuer, true, []int{})},
		}},
	}
	for _, tt := range []struct {
		name  string
		lists [][]byte
		want  error  // of the client
		text  string // of what the lists are refused for
	}{
		{"a newer list takes an entry back", [][]byte{list(1, client, hold), list(2, nil, 0)}, nil, ""},
		{"so it does from an earlier file", [][]byte{list(2, nil, 0), list(1, client, hold)}, nil, ""},
		{"an older list out of date does not count", [][]byte{list(-1, nil, 0), list(1, nil, 0)}, nil, ""},
		{"a newer list adds an entry", [][]byte{list(2, client, 1), list(1, nil, 0)}, errRevoked, ""},
		{"parts add up", [][]byte{list(1, client, 1, part(users)), list(2, other, 1, part(cas))}, errRevoked, ""},
		{"a part out of date", [][]byte{list(-1, nil, 0, part(users)), list(2, nil, 0, part(cas))}, errStaleCRL, ""},
		{"changes add an entry", [][]byte{list(2, client, 1, changes), list(1, nil, 0)}, errRevoked, ""},
		{"changes take an entry back", [][]byte{list(1, client, hold), list(2, client, removed, changes)}, nil, ""},
		{"changes before the complete list", [][]byte{list(2, client, 1), list(1, client, removed, changes)}, errRevoked, ""},
		{"changes are in date, the complete list is not", [][]byte{list(-1, nil, 0), list(1, nil, 0, changes)}, nil, ""},
		{"the list of the issuer's other key is out of date", [][]byte{renewed.crl(t, -time.Hour), list(1, nil, 0)}, nil, ""},
		{"the other key's list revokes all the same", [][]byte{renewed.crl(t, time.Hour, client)}, errRevoked, ""},
		{"changes alone", [][]byte{list(1, nil, 0, changes)}, nil, "the complete list is missing"},
		{"an indirect list", [][]byte{list(1, nil, 0, part(indirect))}, nil, "it is an indirect list"},
		{"an entry of another issuer", [][]byte{root.sign(t, foreign)}, nil, "it is an indirect list"},
		{"a list of attribute certificates", [][]byte{list(1, nil, 0, part(attributes))}, nil, "attribute certificates"},
		{"an unknown extension", [][]byte{list(1, nil, 0, extension(t, "1.2.3", true, 1))}, nil, "critical extension 1.2.3 is not known"},
		{"an unknown extension that is not critical", [][]byte{list(1, nil, 0, extension(t, "1.2.3", false, 1))}, nil, ""},
		{"no distribution point", [][]byte{list(1, nil, 0, pkix.Extension{Id: objectID(t, idDistributionPoint), Critical: true, Value: []byte{1}})}, nil, "its distribution point"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := files{t, t.TempDir()}.write("list.pem", bytes.Join(tt.lists, nil))
			r, err := readRevocations([]string{file}, []*x509.Certificate{root.cert, renewed.cert}, true)
			if tt.text != "" {
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("read: %v, want %q", err, tt.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := r.check([][]*x509.Certificate{{client.cert, root.cert}}, now); !errors.Is(err, tt.want) {
				t.Errorf("the client: %v, want %v", err, tt.want)
			}
		})
	}
}
