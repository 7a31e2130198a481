package ha_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// hash is an Options.ConfigHash that never changes.
func hash(h string) func() string { return func() string { return h } }

func statusOf(t *testing.T, disk *hatest.Disk) ha.Status {
	t.Helper()
	st, err := ha.ReadStatus(t.Context(), ha.Options{Dir: "data", Files: disk.Node()})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStatus_TellsRolesAgesAndTimings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		serveOnce(t, disk)
		a, freeze := frozenBroker(disk)
		a.start(t, ha.Options{Node: "a/1", Standby: true, Advertise: []string{"amqp://a"}, ConfigHash: hash("c1")}, nil)
		a.serves(t)
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true, ConfigHash: hash("c2")},
			follower(ha.Progress{CaughtUp: true, Position: ha.Position{Epoch: 2, Offset: 7}}))
		c := newBroker(disk).start(t, ha.Options{Node: "c", Standby: true, Preflight: func(context.Context) error {
			return errors.New("configuration is broken")
		}}, nil)
		time.Sleep(time.Minute)

		begun := time.Now()
		st := statusOf(t, disk)
		if took := time.Since(begun); took > ttl/2 {
			t.Errorf("reading it took %v", took)
		}
		if st.Epoch != 2 || st.Active != 2 || st.State != "serving" || st.Node != "a/1" || !st.Alive || st.LeaseAge > ttl/5 ||
			st.Lock != "held" || st.FenceMarked || len(st.Lineage) != 1 || st.Promised != 2000 || st.ConfigHash != "c1" {
			t.Errorf("status is %+v", st)
		}
		if st.Takeover == nil || st.Takeover.Why != "the holder gave up" {
			t.Errorf("the takeover was %+v", st.Takeover)
		}
		if len(st.Nodes) != 3 || !st.Nodes[0].Alive || st.Nodes[0].Role != ha.RolePrimary {
			t.Fatalf("nodes are %+v", st.Nodes)
		}
		if n := st.Nodes[1]; !n.Eligible() || !n.CaughtUp || n.Position.Offset != 7 || n.ConfigHash != "c2" {
			t.Errorf("b is %+v", n)
		}
		if n := st.Nodes[2]; n.Eligible() || !n.Alive || n.Reason != "configuration is broken" {
			t.Errorf("c is %+v", n)
		}
		if s, ok := st.Successor(); !ok || s.Node != "b" {
			t.Errorf("the successor is %+v, %v", s, ok)
		}

		b.files.Kill()
		thaw := freeze.freeze()
		begun = time.Now()
		st = statusOf(t, disk)
		if st.Alive || st.LeaseAge < ttl || time.Since(begun) > ttl+ttl/5 {
			t.Errorf("of a frozen primary, after %v: %+v", time.Since(begun), st)
		}
		if n := st.Nodes[1]; n.Alive || n.Eligible() {
			t.Errorf("b is dead, and is %+v", n)
		}
		thaw()
		for _, x := range []*broker{a, b, c} {
			x.cancel()
			t.Log(<-x.done)
		}
		begun = time.Now()
		if st := statusOf(t, disk); st.Nodes[2].Role != ha.RoleLeft || time.Since(begun) > ttl+ttl/5 {
			t.Errorf("after the end: %+v", st)
		}
	})
}

func TestStatus_WritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		files := disk.Node()
		if _, err := ha.ReadStatus(t.Context(), ha.Options{Dir: "data", Files: files}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of no store: %v", err)
		}
		serveOnce(t, disk)
		if _, err := ha.ReadStatus(t.Context(), ha.Options{Dir: "data", Files: files}); err != nil {
			t.Error(err)
		}
		for _, op := range files.Ops() {
			if verb, _, _ := strings.Cut(op, " "); verb != "open" && verb != "read" && verb != "names" && verb != "locked" {
				t.Errorf("it did %q", op)
			}
		}
	})
}

// handingOver is a broker that ends in order when it is asked to.
type handingOver struct {
	done    chan error
	serving chan *ha.Tenure
	cancel  context.CancelFunc
}

func startHandingOver(t *testing.T, disk *hatest.Disk, name string) *handingOver {
	t.Helper()
	h := &handingOver{done: make(chan error, 1), serving: make(chan *ha.Tenure, 1)}
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(t.Context())
	opt := ha.Options{Dir: "data", Node: name, Standby: true, TTL: ttl, Files: disk.Node()}
	go func() {
		h.done <- ha.Run(ctx, opt, follower(ha.Progress{CaughtUp: true}), func(ctx context.Context, tenure *ha.Tenure) error {
			if err := tenure.Activate(history(tenure)); err != nil {
				return err
			}
			h.serving <- tenure
			select {
			case <-tenure.HandoverRequested():
			case <-ctx.Done():
			}
			return tenure.Guard()
		})
	}()
	return h
}

func TestHandover_ToTheEligibleStandbyAndNotBeforeThereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		opt := ha.Options{Dir: "data", Files: disk.Node()}
		a := startHandingOver(t, disk, "a")
		<-a.serving
		if _, _, err := ha.Handover(t.Context(), opt); !errors.Is(err, ha.ErrNoSuccessor) {
			t.Fatalf("with nobody to hand over to: %v", err)
		}
		b := startHandingOver(t, disk, "b")
		time.Sleep(ttl)
		before, after, err := ha.Handover(t.Context(), opt)
		if err != nil || before.Node != "a" || after.Node != "b" || after.Epoch != 2 || after.Takeover == nil || after.Takeover.Why != "the holder gave up" {
			t.Errorf("handed over from %+v to %+v: %v", before, after, err)
		}
		if err := <-a.done; err != nil {
			t.Errorf("the old primary ended with %v", err)
		}
		tenure := <-b.serving
		if src, _ := tenure.Source(); !src.Released {
			t.Error("the source was not released")
		}
		select {
		case <-tenure.HandoverRequested():
			t.Error("the new primary takes the request for its own")
		case <-time.After(time.Minute):
		}
		if err := disk.Edit("data/ha/e0000000002/request", func(b []byte) { b[0] = 1 }); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tenure.HandoverRequested():
			t.Error("a torn request was obeyed")
		case <-time.After(time.Minute):
		}
		b.cancel()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
		if _, _, err := ha.Handover(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "no primary serves") {
			t.Errorf("with no primary: %v", err)
		}
	})
}
