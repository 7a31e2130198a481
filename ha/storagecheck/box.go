package storagecheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"time"

	"github.com/batonmq/baton/ha"
)

// message is what one side says. A box holds one: each answers the one before.
//
//	0        4        8
//	| crc32  | length | JSON ...
//
// The checksum is that of what follows.
type message struct {
	Seq   uint64   `json:"seq"`
	Op    string   `json:"op,omitempty"`
	Names []string `json:"names,omitempty"`
	N     int64    `json:"n,omitempty"`
	Wins  []bool   `json:"wins,omitempty"`
	Err   string   `json:"err,omitempty"`
}

// box is a conversation: out is written by us, in by the other side.
type box struct {
	out, in ha.File
	seq     uint64
}

const (
	leadBox    = "lead"
	partnerBox = "partner"
	pollEvery  = time.Millisecond
)

// openBox opens one end of the conversation in dir.
func openBox(files ha.Files, dir, out, in string) (*box, error) {
	o, err := files.Open(filepath.Join(dir, out), false)
	if err != nil {
		return nil, err
	}
	i, err := files.Open(filepath.Join(dir, in), false)
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return &box{out: o, in: i}, nil
}

func (b *box) close() error { return errors.Join(b.out.Close(), b.in.Close()) }

func (b *box) send(m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	page := ha.AlignedPages(1)
	if len(text) > len(page)-8 {
		return fmt.Errorf("a message of %d bytes does not fit its page", len(text))
	}
	binary.LittleEndian.PutUint32(page[4:], uint32(len(text)))
	copy(page[8:], text)
	binary.LittleEndian.PutUint32(page, crc32.ChecksumIEEE(page[4:]))
	return b.out.Write(page, 0, true)
}

// receive waits for message seq. What is blank or torn is looked at again.
func (b *box) receive(ctx context.Context, seq uint64) (message, error) {
	page := ha.AlignedPages(1)
	for {
		if _, err := b.in.ReadAt(page, 0); err != nil {
			return message{}, err
		}
		n := binary.LittleEndian.Uint32(page[4:])
		if binary.LittleEndian.Uint32(page) == crc32.ChecksumIEEE(page[4:]) && int(n) <= len(page)-8 {
			var m message
			if err := json.NewDecoder(bytes.NewReader(page[8 : 8+n])).Decode(&m); err != nil {
				return message{}, fmt.Errorf("read the other side's message: %w", err)
			}
			if m.Seq == seq {
				return m, nil
			}
		}
		if err := pause(ctx, pollEvery); err != nil {
			return message{}, err
		}
	}
}

// errSilent is the answer of a partner that does not answer, or is not seen to.
var errSilent = errors.New("the other side was not seen to answer: it is gone, or what it writes is not seen here")

// answerTime is how long a side that is there takes at most.
const answerTime = 30 * time.Second

// ask has the partner do something and returns its answer.
func (b *box) ask(ctx context.Context, m message) (message, error) {
	b.seq++
	m.Seq = b.seq
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, errSilent)
	defer cancel()
	if err := b.send(m); err != nil {
		return m, err
	}
	answer, err := b.receive(ctx, m.Seq)
	if err == nil && answer.Err != "" {
		err = fmt.Errorf("the partner, asked to %s: %s", m.Op, answer.Err)
	}
	return answer, err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
