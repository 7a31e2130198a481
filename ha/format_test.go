package ha

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var testID = storeID{0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xbb}

func testLease() lease {
	return lease{
		epoch: 13, nonce: [16]byte{0xcc, 15: 0xdd}, counter: 6, ttl: 3 * time.Second, promised: 0x1122, segment: 9,
		brokerTime: 1_700_000_000_000_000_000, state: stateServing, pid: 4711,
		node: "alpha", configHash: "c0ffee", advertise: []string{"amqp://a:5672", "[::1]:5672"},
	}
}

func leasePage(leases ...lease) []byte {
	page := alignedPages(1)
	for _, l := range leases {
		l.encodeInto(page, testID)
	}
	return page
}

// TestFormat_GoldenBytes pins every record: what is before its zeros, and its
// checksum. These bytes lie on disks.
func TestFormat_GoldenBytes(t *testing.T) {
	l := testLease()
	here, err := encodePresence(testID, &presence{Node: "a", Nonce: "cc", PID: 7, Counter: 2, TTL: 3, Role: RolePrimary, Epoch: 13})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		rec  []byte
		want string
	}{
		{"store.id", encodeStore(testID), "42544e7301000000aa0102030405060708090a0b0c0d0ebb"},
		{"floor", encodeFloor(testID, 13), "42544e6601000000aa0102030405060708090a0b0c0d0ebb0d"},
		{"fence", encodeFence(testID, 13, 14), "42544e7801000000aa0102030405060708090a0b0c0d0ebb0d000000000000000e"},
		{"active", encodeActive(1, testID, 13, []Seal{{7, 0x100}, {12, 0x2233}}), "42544e6101000000aa0102030405060708090a0b0c0d0ebb0d00000000000000" +
			"0200000000000000" + "0700000000000000" + "0001000000000000" + "0c00000000000000" + "3322"},
		{"request", encodeAsk(testID, 13), "42544e7201000000aa0102030405060708090a0b0c0d0ebb0d"},
		{"presence", here, "42544e6e01000000aa0102030405060708090a0b0c0d0ebb0d00000000000000" + "88000000" +
			hex.EncodeToString([]byte(`{"node":"a","nonce":"cc","pid":7,"counter":2,"ttl_ns":3,"role":"primary","epoch":13,"position":{"epoch":0,"offset":0},"caught_up":false}`))},
		{"lease", leasePage(l)[:leaseSlotSize], "42544e6c01000000aa0102030405060708090a0b0c0d0ebb0d00000000000000" +
			"cc0000000000000000000000000000dd" + "0600000000000000" + "005ed0b200000000" + "2211000000000000" + "0900000000000000" +
			"00002a36fe9c9717" + "02000000" + "67120000" + "02" + "05616c706861" + "06633066666565" + "0d616d71703a2f2f613a35363732" + "0a5b3a3a315d3a35363732"},
	} {
		body := tc.rec[:len(tc.rec)-crcSize]
		if got := hex.EncodeToString(bytes.TrimRight(body, "\x00")); got != tc.want {
			t.Errorf("%s is\n%s, want\n%s", tc.name, got, tc.want)
		}
		if s, err := examine(tc.rec, string(tc.rec[:4]), testID); s != sound || err != nil {
			t.Errorf("%s: %v, %v", tc.name, s, err)
		}
	}
}

func TestLease_NewerSoundRecordWins(t *testing.T) {
	older, newer := testLease(), testLease()
	newer.counter, newer.segment = 7, 10
	both := leasePage(older, newer)
	for _, tc := range []struct {
		name string
		page []byte
		want *lease
	}{
		{"both are sound", both, &newer},
		{"only the older", leasePage(older), &older},
		{"the newer is torn", torn(both, leaseSlotSize+512), &older},
		{"the older is torn", torn(both, 512), &newer},
		{"both are torn", torn(torn(both, 512), leaseSlotSize+512), nil},
		{"blank", alignedPages(1), nil},
	} {
		got, ok, err := decodeLease(tc.page, testID, 13)
		if err != nil || ok != (tc.want != nil) {
			t.Errorf("%s: %v, %v", tc.name, ok, err)
		} else if ok && !reflect.DeepEqual(got, *tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, *tc.want)
		}
	}
	if _, ok, _ := decodeLease(both, testID, 14); ok {
		t.Error("a lease of epoch 13 was taken for one of 14")
	}
}

func torn(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

func TestLease_CheckRefusesWhatDoesNotFit(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 255))
	for n, fits := range map[int]bool{0: true, 7: true, 8: false} {
		l := lease{epoch: 1, node: "a", advertise: slices.Repeat([]string{long}, n)}
		if err := l.check(); (err == nil) != fits {
			t.Errorf("%d addresses of 255 bytes: %v", n, err)
			continue
		}
		if !fits {
			continue
		}
		got, ok, err := decodeLease(leasePage(l), testID, 1)
		if !ok || err != nil || len(got.advertise) != n {
			t.Errorf("%d addresses: read back %v, %v, %v", n, got.advertise, ok, err)
		}
	}
	if l := (lease{node: long + "x"}); l.check() == nil {
		t.Error("a node name of 256 bytes was accepted")
	}
	for size := 200; size < 256; size++ { // every size around the end of the slot
		l := lease{epoch: 1, node: string(bytes.Repeat([]byte("n"), size)), advertise: slices.Repeat([]string{long}, 6), configHash: long[:110]}
		if l.check() != nil {
			continue
		}
		if _, ok, _ := decodeLease(leasePage(l), testID, 1); !ok {
			t.Errorf("a node name of %d bytes passes the check and cannot be read back", size)
		}
	}
}

// TestActive_Copies goes through what crashes and damage leave of the two copies.
func TestActive_Copies(t *testing.T) {
	lineage := []Seal{{1, 10}, {2, 20}}
	good := encodeActive(1, testID, 3, lineage)
	blankPage, bad := alignedPages(1), torn(good, 45)
	foreign := encodeActive(1, storeID{1}, 3, lineage)
	newer := slices.Clone(good)
	newer[4]++
	finish(newer)
	for _, tc := range []struct {
		name   string
		a, b   []byte
		active bool
		err    error
	}{
		{"never active", blankPage, blankPage, false, nil},
		{"crash in the first copy", bad, blankPage, false, nil},
		{"crash between the copies", good, blankPage, true, nil},
		{"crash in the second copy", good, bad, true, nil},
		{"finished", good, good, true, nil},
		{"first copy damaged", bad, good, true, nil},
		{"first copy lost", blankPage, good, true, nil},
		{"both damaged", bad, bad, false, ErrDamage},
		{"first lost, second damaged", blankPage, bad, false, ErrDamage},
		{"another store's", foreign, foreign, false, ErrDamage},
		{"a newer version's", newer, newer, false, ErrNewer},
	} {
		got, active, err := decodeActive(slices.Concat(tc.a, tc.b), testID, 3)
		if active != tc.active || !errors.Is(err, tc.err) {
			t.Errorf("%s: active %v, %v", tc.name, active, err)
		}
		if active && !slices.Equal(got, lineage) {
			t.Errorf("%s: lineage %v", tc.name, got)
		}
	}
}

func TestActive_CapacityHoldsWhatPagesPromise(t *testing.T) {
	for _, n := range []int{0, 1, 253, 254, 508, 509, 1000, 70000} {
		pages := activePages(n)
		if activeCapacity(pages) < n || pages > 1 && activeCapacity(pages-1) >= n {
			t.Errorf("%d seals: %d pages hold %d", n, pages, activeCapacity(pages))
		}
		lineage := make([]Seal, activeCapacity(pages))
		for i := range lineage {
			lineage[i] = Seal{uint64(i + 1), uint64(i)}
		}
		c := encodeActive(pages, testID, 1<<40, lineage)
		got, ok, err := decodeActive(slices.Concat(c, c), testID, 1<<40)
		if !ok || err != nil || !slices.Equal(got, lineage) {
			t.Errorf("a full lineage of %d seals is not read back: %v, %v", len(lineage), ok, err)
		}
	}
}

// FuzzDecode gives every decoder a page as found, and the same page with its
// header and checksum made right, so that what lies behind them is reached.
func FuzzDecode(f *testing.F) {
	l := testLease()
	c := encodeActive(1, testID, 13, []Seal{{7, 0x100}, {12, 0x2233}})
	here, err := encodePresence(testID, &presence{Node: "a", Role: RoleStandby})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{nil, here, encodeStore(testID), encodeFloor(testID, 13), encodeFence(testID, 13, 14), leasePage(l), slices.Concat(c, c)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return // more of the same
		}
		size := pageSize
		for size < len(b) {
			size *= 2
		}
		page := make([]byte, size)
		copy(page, b)
		decodeAll(t, page)
		for _, magic := range []string{magicStore, magicFloor, magicFence, magicLease, magicActive, magicNode} {
			for _, record := range []int{leaseSlotSize, pageSize, size / 2} {
				resealed := slices.Clone(page)
				for r := range slices.Chunk(resealed, record) {
					rest := slices.Clone(r[headerSize:])
					begin(r, magic, testID, 13)
					copy(r[headerSize:], rest)
					finish(r)
				}
				decodeAll(t, resealed)
			}
		}
	})
}

func decodeAll(t *testing.T, b []byte) {
	t.Helper()
	_, _ = decodeStore(b[:pageSize])
	_, _ = decodeFloor(b[:pageSize], testID)
	successorOf(b[:pageSize], testID)
	_, _ = decodePresence(b[:pageSize], testID)
	if l, ok, _ := decodeLease(b[:pageSize], testID, 13); ok {
		if err := l.check(); err != nil {
			t.Fatalf("a lease that was read cannot be written: %v", err)
		}
		again, ok, err := decodeLease(leasePage(l), testID, 13)
		if !ok || err != nil || fmt.Sprint(again) != fmt.Sprint(l) {
			t.Fatalf("%+v is read back as %+v, %v, %v", l, again, ok, err)
		}
	}
	if lineage, ok, _ := decodeActive(b, testID, 13); ok {
		pages := len(b) / 2 / pageSize
		c := encodeActive(pages, testID, 13, lineage)
		again, ok, err := decodeActive(slices.Concat(c, c), testID, 13)
		if !ok || err != nil || !slices.Equal(again, lineage) {
			t.Fatalf("%v is read back as %v, %v, %v", lineage, again, ok, err)
		}
	}
}

func TestPresence_RoundTripAndWhatIsNone(t *testing.T) {
	p := &presence{
		Node: "a/b", Nonce: "cc", PID: 7, Counter: 9, TTL: int64(time.Second), Role: RoleStandby, Position: Position{3, 4}, CaughtUp: true,
		Reason: strings.Repeat("x", 5000), ConfigHash: "c", Advertise: []string{"amqp://a"}, Takeover: &Takeover{Why: "w", Mark: 3},
	}
	page, err := encodePresence(testID, p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodePresence(page, testID)
	if err != nil || got == nil || len(got.Reason) > maxReason+3 {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	p.Reason, got.Reason = "", ""
	if !reflect.DeepEqual(got, p) {
		t.Errorf("decoded %+v, want %+v", got, p)
	}
	page[100]++
	for name, b := range map[string][]byte{"torn": page, "blank": alignedPages(1)} {
		if got, err := decodePresence(b, testID); got != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	page[100]--
	if _, err := decodePresence(page, storeID{1}); !errors.Is(err, ErrDamage) {
		t.Errorf("of another store: %v", err)
	}
	p.Advertise = []string{strings.Repeat("y", 5000)}
	if _, err := encodePresence(testID, p); err == nil {
		t.Error("what does not fit a page was encoded")
	}
}
