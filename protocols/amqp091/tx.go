package amqp091

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// transaction is what a channel has published and settled since tx.select, or
// since its last commit or rollback (class reference 1.9). It waits here: the
// engine hears of it with the commit, all at once.
type transaction struct {
	publications []pending
	settlements  []core.Settlement // of deliveries that are outstanding until then
	bytes        int64             // of publications, in conn.pending
}

// pending is a publication that waits for its commit.
type pending struct {
	message   *core.Message
	mandatory bool
	expires   bool
	lifetime  time.Duration // of one that expires: from the commit on
}

// pendingCost is what a pending publication costs beside its message's size.
const pendingCost = 256

// handleTx acts on the methods of class tx.
func (ch *channel) handleTx(ctx context.Context, m wire.Method) error {
	switch m.(type) {
	case *wire.TxSelect:
		if ch.confirms.on {
			return wire.Errorf(wire.PreconditionFailed, m.ID(), "cannot switch from confirm to tx mode")
		}
		if ch.tx == nil {
			ch.change(func() { ch.tx = &transaction{} })
		}
		return ch.send(&wire.TxSelectOK{})
	case *wire.TxCommit:
		if ch.tx == nil {
			return notTransactional(m)
		}
		if err := ch.commit(ctx); err != nil {
			return err
		}
		return ch.send(&wire.TxCommitOK{})
	case *wire.TxRollback:
		if ch.tx == nil {
			return notTransactional(m)
		}
		ch.rollback()
		return ch.send(&wire.TxRollbackOK{})
	}
	return unhandled(m)
}

func notTransactional(m wire.Method) *wire.Error {
	return wire.Errorf(wire.PreconditionFailed, m.ID(), "channel is not transactional")
}

// postpone keeps a publication for the commit. What would fail then for a reason
// that is known now fails now.
func (ch *channel) postpone(p pending) error {
	if err := ch.c.session.CheckPublish(p.message); err != nil {
		return err
	}
	t := ch.tx
	n := int64(p.message.Size() + pendingCost)
	if most := ch.c.srv.maxPending; ch.c.pending+n > most {
		return wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID,
			"transactions of this connection exceed %d bytes: commit more often", most)
	}
	t.bytes += n
	ch.c.addPending(n)
	t.publications = append(t.publications, p)
	ch.uncommitted.Add(1)
	return nil
}

// addPending counts what waits for commits together with what is arriving.
func (c *conn) addPending(n int64) {
	c.pending += n
	c.session.Arriving(c.arriving + c.pending)
}

// settleLater keeps for the commit what collect has found. It stays outstanding
// until then, as far as prefetch limits and the end of the channel go.
func (ch *channel) settleLater(o core.Outcome) {
	if len(ch.settling) == 0 {
		return
	}
	for i := range ch.settling {
		ch.settling[i].Unload()
	}
	t := ch.tx
	ch.uncommittedAcks.Add(int32(len(ch.settling)))
	if n := len(t.settlements); n > 0 && t.settlements[n-1].Outcome == o {
		last := &t.settlements[n-1]
		last.Deliveries = append(last.Deliveries, ch.settling...)
	} else {
		t.settlements = append(t.settlements, core.Settlement{Outcome: o, Deliveries: slices.Clone(ch.settling)})
	}
	ch.endSettling()
}

// commit has the engine do all of the transaction.
func (ch *channel) commit(ctx context.Context) error {
	t, session := ch.tx, ch.c.session
	var err error
	do := core.Transaction{Settlements: t.settlements, Unrouted: func(i int) {
		if returned := ch.unrouted(t.publications[i].message, t.publications[i].mandatory); err == nil {
			err = returned
		}
	}}
	for i := range t.publications {
		p := &t.publications[i]
		if p.expires {
			p.message.Expires = session.ExpiresAfter(p.lifetime)
		}
		do.Messages = append(do.Messages, p.message)
	}
	failed := session.Transact(ctx, &do)
	ch.endTransaction() // it is the engine's, also if nobody can wait for it any more
	return cmp.Or(failed, err)
}

// rollback forgets what was published, and that anything was settled.
func (ch *channel) rollback() {
	ds := ch.takeTransaction(nil)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.unsettled.putBack(ds)
}

// endTransaction begins the next one.
func (ch *channel) endTransaction() {
	ch.c.addPending(-ch.tx.bytes)
	*ch.tx = transaction{}
	ch.uncommitted.Store(0)
	ch.uncommittedAcks.Store(0)
}

// takeTransaction forgets the transaction and moves what it was to settle to the
// end of to: it is outstanding still.
func (ch *channel) takeTransaction(to []core.Delivery) []core.Delivery {
	for _, n := range ch.tx.settlements {
		to = append(to, n.Deliveries...)
	}
	ch.endTransaction()
	return to
}
