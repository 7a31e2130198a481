package storagecheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/batonmq/baton/ha"
)

// childVariable tells a process that it was started by this package, and for what:
// "partner DIR" or "hold FILE".
const childVariable = "BATON_STORAGE_CHECK"

// Child does the work of a process that this package has started, and returns its
// exit code; false: this is no such process. A main function calls it first.
func Child() (code int, ok bool) {
	what, path, ok := strings.Cut(os.Getenv(childVariable), " ")
	if !ok {
		return 0, false
	}
	var err error
	switch what {
	case "partner":
		err = serve(context.Background(), path)
	case "hold":
		err = hold(path)
	default:
		err = fmt.Errorf("%s says %q", childVariable, what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "storage check:", err)
		return 1, true
	}
	return 0, true
}

// startChild starts this program again.
func startChild(ctx context.Context, what, path string) (*exec.Cmd, io.ReadCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), childVariable+"="+what+" "+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		_, err = cmd.StdinPipe() // closed by our end, whatever that is
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start a second process: %w", err)
	}
	return cmd, out, nil
}

const holding = "holding\n"

// hold holds a lock until it is killed, or its starter has ended.
func hold(path string) error {
	f, err := ha.OSFiles().Open(path, false)
	if err != nil {
		return err
	}
	if err := f.Lock(); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString(holding); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, f.Close())
}

// partner is the side that does what it is asked.
type partner struct {
	files ha.Files
	dir   string
	cell  ha.File
	lock  ha.File
	child *exec.Cmd // holds a lock

	entrant entrant
}

// serve is the partner's life in the session's directory dir.
func serve(ctx context.Context, dir string) error {
	p := &partner{files: ha.OSFiles(), dir: dir}
	if _, err := p.files.Fresh(dir); err != nil {
		return err
	}
	b, err := openBox(p.files, dir, partnerBox, leadBox)
	if err != nil {
		return err
	}
	defer p.end()
	for {
		b.seq++
		asked, err := p.next(ctx, b)
		if err != nil {
			return errors.Join(err, b.close())
		}
		answer := message{Seq: asked.Seq}
		if err := p.do(ctx, asked, &answer); err != nil {
			answer.Err = err.Error()
		}
		if err := b.send(answer); err != nil {
			return errors.Join(err, b.close())
		}
		if asked.Op == opEnd {
			return b.close()
		}
	}
}

// next waits longer than the lead takes between two questions.
func (p *partner) next(ctx context.Context, b *box) (message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*answerTime, errSilent)
	defer cancel()
	return b.receive(ctx, b.seq)
}

func (p *partner) end() {
	if p.child != nil {
		_ = p.child.Process.Kill() // it may be dead already
		_ = p.child.Wait()
	}
	for _, f := range []ha.File{p.cell, p.lock} {
		if f != nil {
			_ = f.Close() // nothing in it counts any more
		}
	}
}

// What a partner is asked to do. Names are of files in the session's directory.
const (
	opHello  = "say hello"       // who it is: Names
	opWrite  = "write a cell"    // N to Names[0], synced
	opFill   = "fill a file"     // Names[0] with N, synced, as one that is opened for it
	opRead   = "read a cell"     // Names[0] freshly, by path and by descriptor
	opPlain  = "change a file"   // N bytes more, plainly, to Names[0], synced
	opMake   = "make a file"     // Names[0]
	opReady  = "prepare a race"  // for N names of each kind
	opRace   = "race"            // for some of them, from N on: Wins
	opLock   = "take a lock"     // Names[0]: Wins[0]
	opUnlock = "release a lock"  //
	opLocked = "ask a lock"      // Names[0]: Wins[0]
	opHold   = "hold a lock"     // Names[0], in a child of its own
	opKill   = "kill the holder" //
	opEnd    = "end"             //
)

func (p *partner) do(ctx context.Context, m message, answer *message) (err error) {
	path := p.dir
	if len(m.Names) > 0 {
		path = filepath.Join(p.dir, m.Names[0])
	}
	switch m.Op {
	case opHello:
		answer.Names = []string{whoami()}
	case opWrite:
		if p.cell == nil {
			if p.cell, err = p.files.Open(path, false); err != nil {
				return err
			}
		}
		err = writeCell(p.cell, m.N)
	case opFill:
		err = fill(p.files, path, m.N)
	case opRead:
		answer.N, err = readCell(p.files, path)
	case opPlain:
		err = grow(path, m.N)
	case opMake:
		err = create(p.files, path, 1)
	case opReady:
		p.entrant = entrant{p.files, p.dir, partnerBox, int(m.N)}
		err = p.entrant.prepare()
	case opRace:
		answer.Wins = p.entrant.run(int(m.N))
	case opLock, opLocked:
		answer.Wins, err = p.tryLock(m.Op, path)
	case opUnlock:
		err = p.lock.Close()
		p.lock = nil
	case opHold:
		err = p.hold(ctx, path)
	case opKill:
		err = p.child.Process.Kill()
		_ = p.child.Wait() // tells that it was killed
		p.child = nil
	case opEnd:
	default:
		err = fmt.Errorf("what is %q", m.Op)
	}
	return err
}

func (p *partner) tryLock(op, path string) ([]bool, error) {
	f, err := p.files.Open(path, false)
	if err != nil {
		return nil, err
	}
	if op == opLocked {
		locked, err := f.Locked()
		return []bool{locked}, errors.Join(err, f.Close())
	}
	if f.Lock() != nil { // that is what is asked
		return []bool{false}, f.Close()
	}
	p.lock = f
	return []bool{true}, nil
}

func (p *partner) hold(ctx context.Context, path string) error {
	child, out, err := startChild(ctx, "hold", path)
	if err != nil {
		return err
	}
	p.child = child
	line := make([]byte, len(holding))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != holding {
		return fmt.Errorf("the process that is to hold a lock says %q: %w", line, err)
	}
	return nil
}

// writeCell fills a page with n.
func writeCell(f ha.File, n int64) error {
	page := ha.AlignedPages(1)
	for at := 0; at < len(page); at += 8 {
		binary.LittleEndian.PutUint64(page[at:], uint64(n))
	}
	return f.Write(page, 0, true)
}

// fill writes a cell that is opened for it.
func fill(files ha.Files, path string, n int64) error {
	f, err := files.Open(path, false)
	if err != nil {
		return err
	}
	return errors.Join(writeCell(f, n), f.Close())
}

// readCell reads what writeCell wrote, freshly; a page that is partly old is an
// error.
func readCell(files ha.Files, path string) (int64, error) {
	f, err := files.Open(path, false)
	if err != nil {
		return 0, err
	}
	n, err := readOpenCell(f)
	return n, errors.Join(err, f.Close())
}

func readOpenCell(f ha.File) (int64, error) {
	page := ha.AlignedPages(1)
	if _, err := f.ReadAt(page, 0); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(page)
	for at := 0; at < len(page); at += 8 {
		if binary.LittleEndian.Uint64(page[at:]) != n {
			return 0, errTorn
		}
	}
	return int64(n), nil
}

var errTorn = errors.New("a page that was written at once is partly old")

func create(files ha.Files, path string, pages int) error {
	f, err := files.Open(path, true)
	if err != nil {
		return err
	}
	return errors.Join(f.Write(ha.AlignedPages(pages), 0, true), f.Close())
}

// grown is what a file grows by.
const grown = 'x'

// grow appends n bytes, without O_DIRECT, and syncs them.
func grow(path string, n int64) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Repeat([]byte{grown}, int(n)))
	return errors.Join(err, f.Sync(), f.Close())
}

func whoami() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}
