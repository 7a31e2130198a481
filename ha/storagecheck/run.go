package storagecheck

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/batonmq/baton/ha"
)

// Options say what to check.
type Options struct {
	Dir string
	// Pair waits for a second command on the same directory, from another host,
	// until the context ends; or it joins one that waits.
	Pair bool
	// Rounds is how often each thing is tried. Default 100.
	Rounds int
	// TTL is what the brokers will use; what takes longer has failed. Default 3 s.
	TTL time.Duration

	files ha.Files // nil: the operating system's
}

func (o *Options) defaults() error {
	if o.Dir == "" {
		return errors.New("no directory is given")
	}
	if o.Rounds == 0 {
		o.Rounds = 100
	}
	if o.TTL == 0 {
		o.TTL = 3 * time.Second
	}
	if o.Rounds < 1 || o.Rounds > 500 || o.TTL < 0 {
		return fmt.Errorf("%d rounds are not between 1 and 500, or the ttl %v is negative", o.Rounds, o.TTL)
	}
	return nil
}

const (
	pairName   = ".baton-storage-check"
	reportName = "report"
	reportSize = 16 // pages
)

// Run checks a directory, which must exist. The error tells that the check could
// not be made; what it found is in the report.
func Run(ctx context.Context, opt Options) (Report, error) {
	if err := opt.defaults(); err != nil {
		return Report{}, err
	}
	files := opt.files
	if files == nil {
		files = ha.OSFiles()
	}
	fresh, err := files.Fresh(opt.Dir)
	if err != nil {
		return Report{}, err
	}
	r := Report{Dir: opt.Dir, Freshness: fresh.String(), Lead: whoami(), Pair: opt.Pair, OK: true}
	if fresh == ha.Stale {
		why := ha.StaleReason(opt.Dir)
		if why == "" {
			why = "the file system is neither known to be local nor takes O_DIRECT, so that what another host writes may be seen late or never"
		}
		r.add("fresh reads", Fail, nil, "%s", why)
		return r, nil
	}
	r.add("fresh reads", Pass, nil, "%s", map[ha.Freshness]string{
		ha.Cached: "one kernel owns the file system, its cache is fresh",
		ha.Direct: "reads go past the cache with O_DIRECT",
	}[fresh])
	dir, leads, err := openSession(files, &opt)
	if err != nil {
		return r, fmt.Errorf("check %s: %w", opt.Dir, err)
	}
	if !leads {
		return join(ctx, files, dir)
	}
	l := lead{files: files, opt: opt, dir: dir, report: &r}
	err = l.run(ctx)
	if removeErr := files.Remove(dir); err == nil && removeErr != nil {
		err = fmt.Errorf("clean up: %w", removeErr)
	}
	return r, err
}

// openSession makes the session's directory, filled, or finds that of a lead that
// waits.
func openSession(files ha.Files, opt *Options) (dir string, leads bool, err error) {
	temp := filepath.Join(opt.Dir, pairName+"-"+rand.Text())
	if err := files.Mkdir(temp); err != nil {
		return "", false, err
	}
	for name, pages := range map[string]int{leadBox: 1, partnerBox: 1, "cell": 1, "answer": 1, "plain": 1, "growing": 1, "lock": 1, "held": 1, reportName: reportSize} {
		if err := create(files, filepath.Join(temp, name), pages); err != nil {
			return "", false, errors.Join(err, files.Remove(temp))
		}
	}
	if !opt.Pair {
		return temp, true, nil
	}
	dir = filepath.Join(opt.Dir, pairName)
	err = files.Place(temp, dir)
	if err == nil {
		return dir, true, nil
	}
	removeErr := files.Remove(temp)
	f, openErr := files.Open(filepath.Join(dir, leadBox), false)
	if errors.Is(openErr, fs.ErrNotExist) {
		return "", false, errors.Join(err, removeErr)
	}
	return dir, false, errors.Join(openErr, removeErr, f.Close())
}

// join is the life of the second command. Its report is the lead's.
func join(ctx context.Context, files ha.Files, dir string) (Report, error) {
	var r Report
	if err := serve(ctx, dir); err != nil {
		return r, fmt.Errorf("join the check in %s: %w; if no other command runs, remove that directory", dir, err)
	}
	f, err := files.Open(filepath.Join(dir, reportName), false)
	if err != nil {
		return r, fmt.Errorf("read the other side's report: %w", err)
	}
	text := ha.AlignedPages(reportSize)
	_, err = f.ReadAt(text, 0)
	if err = errors.Join(err, f.Close()); err == nil {
		err = json.Unmarshal(text[4:4+beUint32(text)], &r)
	}
	if err != nil {
		return r, fmt.Errorf("read the other side's report: %w", err)
	}
	// The lead waits for this before it removes the directory.
	return r, create(files, filepath.Join(dir, "read"), 1)
}

// run has the partner come, and goes through the checks.
func (l *lead) run(ctx context.Context) error {
	b, err := openBox(l.files, l.dir, leadBox, partnerBox)
	if err != nil {
		return err
	}
	l.box = b
	if !l.opt.Pair {
		child, _, err := startChild(ctx, "partner", l.dir)
		if err != nil {
			return errors.Join(err, b.close())
		}
		defer func() {
			_ = child.Process.Kill() // it has ended, or does not answer
			_ = child.Wait()
		}()
	}
	err = l.talk(ctx)
	if errors.Is(err, errSilent) {
		l.report.add("visibility", Fail, nil, "%v", err)
		err = nil
	}
	return errors.Join(err, b.close())
}

func (l *lead) talk(ctx context.Context) error {
	if err := l.hello(ctx); err != nil {
		return err
	}
	for _, check := range []func(context.Context) error{
		l.visibility, l.lookedUp, l.growth, l.cost, l.sameFile, l.staleness, l.exclusiveness, l.locks, l.killedHolder,
	} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return l.end(ctx)
}

// hello waits for the partner: long for one that a person starts.
func (l *lead) hello(ctx context.Context) error {
	l.box.seq++
	if err := l.box.send(message{Seq: l.box.seq, Op: opHello}); err != nil {
		return err
	}
	if !l.opt.Pair {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, answerTime, errSilent)
		defer cancel()
	}
	answer, err := l.box.receive(ctx, l.box.seq)
	if err != nil {
		return err
	}
	if len(answer.Names) == 1 {
		l.report.Partner = answer.Names[0]
	}
	return nil
}

// end tells the partner the report.
func (l *lead) end(ctx context.Context) error {
	text, err := json.Marshal(l.report)
	if err != nil {
		return err
	}
	pages := ha.AlignedPages(reportSize)
	if len(text) > len(pages)-4 {
		return fmt.Errorf("a report of %d bytes does not fit its pages", len(text))
	}
	putUint32(pages, len(text))
	copy(pages[4:], text)
	f, err := l.files.Open(filepath.Join(l.dir, reportName), false)
	if err == nil {
		err = errors.Join(f.Write(pages, 0, true), f.Close())
	}
	if err == nil {
		_, err = l.box.ask(ctx, message{Op: opEnd})
	}
	if err != nil || !l.opt.Pair {
		return err
	}
	_, err = l.until(ctx, func() (bool, error) {
		f, err := l.files.Open(filepath.Join(l.dir, "read"), false)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, f.Close()
	})
	return err
}
