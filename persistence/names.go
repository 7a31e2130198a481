package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
)

// Of a keyed queue, as retained messages live in, the routing keys of what lives have to be known at a start, without reading the
// messages: there may be millions. A definition for each would take more memory, and more of a start, than all else that is known of
// them. So the keys of 64 places that follow each other, a page, are one value of the index, and the journal has no record of them but the
// messages. A page is written once, when it was filled, and not when a message of it ends: which of its places live is what their
// chunk says. When no more than a quarter of a page lives it is written again without the rest.
//
// Memory has the keys of pages that the index does not have yet, or not all of. The others it hands over at a start, and lets go of.

// pagePlaces is how many places of a queue one page covers: as many as a word has bits, and so few that the usual page is shorter than a
// block of the index.
const (
	pagePlaces = 64
	chunkPages = chunkPlaces / pagePlaces
)

// page is the keys of 64 places.
type page struct {
	alive   uint64 // which of the places are
	named   uint64 // which of them data has the key of, alive or not
	data    []byte // names, one after the other, in the order in which they came; nil: only the index has them
	dirty   bool   // it differs from what the index has: it is in live.changedPages
	indexed bool   // the index has one of this number
	sparse  bool   // it is in live.sparsePages
}

// pages are those of a chunk.
type pages [chunkPages]page

// pageAt is where a page is.
type pageAt struct {
	q *queue
	c *chunk
	i int
}

func (a pageAt) page() *page    { return &a.c.pages[a.i] }
func (a pageAt) number() uint64 { return a.c.number*chunkPages + uint64(a.i) }
func (a pageAt) key() string    { return pageKey(a.q.id, a.number()) }

// first is the place that bit 0 of the page's masks stands for.
func (a pageAt) first() core.Seq { return core.Seq(a.number() * pagePlaces) }

// split returns in which page of a chunk a place is, and its bit there.
func split(place int) (i int, bit uint64) { return place / pagePlaces, 1 << (place % pagePlaces) }

// pageLetters begin the key under which the index keeps a page among the definitions: no definition's key begins with zero.
const pageLetters = "\x00n"

func pageKey(queue core.QueueID, number uint64) string {
	b := binary.BigEndian.AppendUint64([]byte(pageLetters), uint64(queue))
	return string(binary.BigEndian.AppendUint64(b, number))
}

// parsePageKey is the inverse of pageKey. It returns false for the key of a definition.
func parsePageKey(key string) (queue core.QueueID, number uint64, ok bool) {
	if len(key) != len(pageLetters)+16 || !strings.HasPrefix(key, pageLetters) {
		return 0, 0, false
	}
	b := []byte(key[len(pageLetters):])
	return core.QueueID(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:]), true
}

// A page's value is its format and its names. A name:
//
//	place[1]  bytes key  [uvarint expires]
//
// The place is counted from the page's first one. Flag 128 in it says that the message expires.
const nameExpires = 0x80

func appendName[K string | []byte](b []byte, place int, key K, expires int64) []byte {
	if expires != 0 {
		place |= nameExpires
	}
	b = append(b, byte(place))
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	if expires != 0 {
		b = binary.AppendUvarint(b, uint64(expires))
	}
	return b
}

// name is where one is in the data of a page.
type name struct {
	from, to       int // of the whole
	keyFrom, keyTo int
	expires        int64
}

// parseNames tells where the names in data are, by place, and of which places there are some.
func parseNames(data []byte, at *[pagePlaces]name) (named uint64, err error) {
	for from := 0; from < len(data); {
		r := stateReader{b: data[from:]}
		head := r.byte()
		n := r.count(1)
		if place := head &^ nameExpires; r.bad || place >= pagePlaces || named&(1<<place) != 0 {
			return 0, errState
		}
		name := name{from: from, keyFrom: len(data) - len(r.b)}
		name.keyTo = name.keyFrom + int(n)
		r.b = r.b[n:]
		if head&nameExpires != 0 {
			name.expires = int64(r.uvarint())
		}
		if r.bad {
			return 0, errState
		}
		from = len(data) - len(r.b)
		name.to = from
		at[head&^nameExpires] = name
		named |= 1 << (head &^ nameExpires)
	}
	return named, nil
}

// setKey notes the key of the message that a record has put at a place of a keyed queue. A place that has one keeps it: it is the same.
func setKey[K string | []byte](l *live, p core.Pair, key K, expires int64) {
	q := l.queues[p.Queue]
	if q == nil || len(key) > core.MaxKey {
		return
	}
	n, ok := q.find(uint64(p.Seq) / chunkPlaces)
	if !ok {
		return
	}
	i, bit := split(int(p.Seq % chunkPlaces))
	at := pageAt{q, q.chunks[n], i}
	pg := at.page()
	if pg.alive&bit == 0 || pg.named&bit != 0 || !l.fetchPage(at) {
		return
	}
	pg.data = appendName(pg.data, int(p.Seq%pagePlaces), key, expires)
	pg.named |= bit
	l.touchPage(at)
}

// touchPage notes that a page differs from what the index has.
func (l *live) touchPage(at pageAt) {
	pg := at.page()
	if pg.dirty {
		return
	}
	pg.dirty = true
	if _, was := l.goneDefs[at.key()]; was {
		delete(l.goneDefs, at.key())
		pg.indexed = true
	}
	l.changedPages = append(l.changedPages, at)
}

// unname notes that what lived at a place of c is over. Its key stays until the page is written again.
func (l *live) unname(q *queue, c *chunk, place int) {
	i, bit := split(place)
	at := pageAt{q, c, i}
	pg := at.page()
	pg.alive &^= bit
	switch {
	case pg.alive == 0:
		l.dropPage(at)
	case pg.dirty, pg.sparse, pg.named == 0:
	case 4*bits.OnesCount64(pg.alive&pg.named) <= bits.OnesCount64(pg.named):
		pg.sparse = true
		l.sparsePages = append(l.sparsePages, at)
	}
}

// dropPage forgets a page of which nothing lives.
func (l *live) dropPage(at pageAt) {
	if at.page().indexed {
		l.goneDefs[at.key()] = struct{}{}
	}
	*at.page() = page{}
}

// dropPages forgets the pages of a chunk that is over.
func (l *live) dropPages(q *queue, c *chunk) {
	if c.pages == nil {
		return
	}
	for i := range c.pages {
		l.dropPage(pageAt{q, c, i})
	}
}

// readPage reads the names of a page from the index.
func (l *live) readPage(at pageAt) ([]byte, error) {
	b, err := l.readDef(at.key())
	if err == nil && (len(b) < 2 || b[0] != stateFormat) {
		err = errState
	}
	if err != nil {
		return nil, fmt.Errorf("read page %d of the keys of queue %d from the index: %w", at.number(), at.q.id, err)
	}
	return b[1:], nil
}

// fetchPage reads a page that only the index has. One that cannot be read ends the store: see Store.pass.
func (l *live) fetchPage(at pageAt) bool {
	pg := at.page()
	if pg.named == 0 || pg.data != nil {
		return true
	}
	data, err := l.readPage(at)
	if err != nil {
		l.err = errors.Join(l.err, err)
		return false
	}
	pg.data = data
	return true
}

// gatherSparse has pages of which little lives written again. The index is read without mu, which the committer may want meanwhile.
func (l *live) gatherSparse() {
	l.mu.Lock()
	list := l.sparsePages
	l.sparsePages = nil
	l.mu.Unlock()
	for _, at := range list {
		l.gatherPage(at)
	}
}

func (l *live) gatherPage(at pageAt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pg := at.page()
	if !pg.sparse {
		return // it went meanwhile
	}
	pg.sparse = false
	if pg.data == nil && !pg.dirty {
		key := at.key()
		l.mu.Unlock()
		b, err := l.readDef(key)
		l.mu.Lock()
		if err != nil || pg.named == 0 || len(b) < 2 || b[0] != stateFormat {
			return // it went meanwhile; or whoever needs it will learn what is wrong
		}
		if pg.data == nil {
			pg.data = b[1:]
		}
	}
	l.touchPage(at)
}

// freezePages puts the pages that differ into cp, without the keys of what is over.
func (l *live) freezePages(cp *index.Checkpoint) {
	for _, at := range l.changedPages {
		pg := at.page()
		if !pg.dirty {
			continue // it went
		}
		alive := pg.alive
		if err := pg.gather(); err != nil {
			l.err = errors.Join(l.err, fmt.Errorf("write page %d of the keys of queue %d: %w", at.number(), at.q.id, err))
			continue
		}
		if pg.named == 0 { // what lives has keys that are too long
			l.dropPage(at)
			at.page().alive = alive
			continue
		}
		value := append(append(make([]byte, 0, 1+len(pg.data)), stateFormat), pg.data...)
		cp.PutDefinitions = append(cp.PutDefinitions, index.Definition{Key: at.key(), Value: value})
		pg.dirty, pg.indexed = false, true
	}
	l.changedPages = nil
}

// gather keeps the names of what lives only.
func (pg *page) gather() error {
	if pg.named&^pg.alive == 0 {
		return nil
	}
	var names [pagePlaces]name
	if _, err := parseNames(pg.data, &names); err != nil {
		return err
	}
	data := make([]byte, 0, len(pg.data))
	pg.named &= pg.alive
	for left := pg.named; left != 0; left &= left - 1 {
		n := names[bits.TrailingZeros64(left)]
		data = append(data, pg.data[n.from:n.to]...)
	}
	pg.data = data
	return nil
}

// letGoOfPage forgets the names of a page that a checkpoint has brought into the index, and that has not changed since. More are to come to
// the last one.
func (l *live) letGoOfPage(queue core.QueueID, number uint64) {
	q := l.queues[queue]
	if q == nil {
		return
	}
	if n, ok := q.find(number / chunkPages); ok {
		pageAt{q, q.chunks[n], int(number % chunkPages)}.letGo()
	}
}

func (a pageAt) letGo() {
	if pg := a.page(); pg.indexed && !pg.dirty && a.number() != uint64(a.q.next)/pagePlaces {
		pg.data = nil
	}
}

// foundPage is a page that was met in the index.
type foundPage struct {
	queue  core.QueueID
	number uint64
	data   []byte
}

// restorePages takes over the pages that the index has. Their chunks are there, and know which places live.
func (l *live) restorePages(list []foundPage) error {
	var names [pagePlaces]name
	for _, f := range list {
		q := l.queues[f.queue]
		if q == nil || !q.id.Keyed() {
			return errState
		}
		n, ok := q.find(f.number / chunkPages)
		if !ok || len(f.data) < 2 || f.data[0] != stateFormat {
			return errState
		}
		pg := pageAt{q, q.chunks[n], int(f.number % chunkPages)}.page()
		named, err := parseNames(f.data[1:], &names)
		if err != nil || pg.alive == 0 {
			return errState
		}
		pg.named, pg.data, pg.indexed = named, f.data[1:], true
	}
	return nil
}

// markAlive tells the pages of c, whose value is b, which places live.
func (l *live) markAlive(c *chunk, b []byte) error {
	whole := &chunk{number: c.number, entries: l.array(c.count)}
	if err := l.decodeChunk(b, whole); err != nil {
		return err
	}
	for place := whole.after(0); place < chunkPlaces; place = whole.after(place + 1) {
		i, bit := split(place)
		c.pages[i].alive |= bit
	}
	l.keep(whole.entries)
	return nil
}

// keysFrom appends the live places of the first chunk of a queue from number on, and returns the number of the next one; 0: there is none.
// With let it lets go of what the index has.
func (l *live) keysFrom(list []core.KeyedPlace, queue core.QueueID, number uint64, let bool) ([]core.KeyedPlace, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[queue]
	if q == nil || !queue.Keyed() {
		return list, 0, nil
	}
	n, _ := q.find(number)
	if n == len(q.chunks) {
		return list, 0, nil
	}
	c := q.chunks[n]
	for i := range c.pages {
		at := pageAt{q, c, i}
		var err error
		if list, err = l.keysOf(list, at); err != nil {
			return list, 0, err
		}
		if let {
			at.letGo()
		}
	}
	return list, c.number + 1, nil
}

// keysOf appends the live places of a page.
func (l *live) keysOf(list []core.KeyedPlace, at pageAt) ([]core.KeyedPlace, error) {
	pg := at.page()
	left := pg.alive & pg.named
	if left == 0 {
		return list, nil
	}
	data := pg.data
	if data == nil {
		var err error
		if data, err = l.readPage(at); err != nil {
			return list, err
		}
	}
	var names [pagePlaces]name
	if _, err := parseNames(data, &names); err != nil {
		return list, err
	}
	text := string(data) // one for all keys: few of them outlive the others by much
	for ; left != 0; left &= left - 1 {
		place := bits.TrailingZeros64(left)
		n := names[place]
		list = append(list, core.KeyedPlace{Seq: at.first() + core.Seq(place), Key: text[n.keyFrom:n.keyTo], Expires: n.expires})
	}
	return list, nil
}

// keysOfQueue returns the live places of a queue.
func (l *live) keysOfQueue(queue core.QueueID) (list []core.KeyedPlace, err error) {
	for next, more := uint64(0), true; more && err == nil; more = next != 0 {
		list, next, err = l.keysFrom(list, queue, next, false)
	}
	return list, err
}
