package interop

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

const (
	txTokens  = 1500
	txEach    = 3 // tokens that one transaction moves
	txWorkers = 4
	txKills   = 3
)

// txOut is where every token goes that leaves tx.in; the first two are bound to an exchange, the last is named.
var txOut = []string{"tx.out1", "tx.out2", "tx.out3"}

// A broker that is killed three times while transactions move tokens from one queue to three others has each token where it was or in all
// three, once: acknowledgements and publishes of a transaction pass together or not at all, and all that was answered has passed.
func TestKilledBrokerKeepsTransactionsWhole(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	rng := rand.New(rand.NewPCG(seed(t), 0))
	start(t, b, log)
	txPrepare(t, b.URL())
	r := &txRun{url: b.URL()}
	for kill := range txKills + 1 {
		if kill < txKills {
			const perLife = txTokens / txEach / (txKills + 1)
			r.at(r.count()+perLife/10+rng.IntN(perLife), func() {
				if err := b.Kill(); err != nil {
					t.Error(err)
				}
			})
		}
		if err := r.live(); err != nil {
			t.Fatalf("life %d: %v\nthe broker's log:\n%s", kill+1, err, log.text())
		}
		if kill < txKills {
			if _, err := b.life.wait(patience); err != nil {
				t.Fatalf("life %d: the clients' connections ended, not the broker: %v\nits log:\n%s", kill+1, err, log.text())
			}
			start(t, b, log)
		}
	}
	r.verdict(t, kept(t, b.URL()))
}

// txPrepare declares the queues and fills the first.
func txPrepare(t *testing.T, url string) {
	t.Helper()
	ch := channel(t, url)
	err := ch.ExchangeDeclare("tx.all", "fanout", true, false, false, false, nil)
	for _, q := range append([]string{"tx.in"}, txOut...) {
		if _, e := ch.QueueDeclare(q, true, false, false, false, nil); e != nil {
			err = e
		}
	}
	for _, q := range txOut[:2] {
		err = errors.Join(err, ch.QueueBind(q, "", "tx.all", false, nil))
	}
	err = errors.Join(err, ch.Tx())
	for i := range txTokens {
		err = errors.Join(err, txPublish(ch, "", "tx.in", strconv.Itoa(i)))
	}
	if err = errors.Join(err, ch.TxCommit()); err != nil {
		t.Fatal(err)
	}
}

func txPublish(ch *amqp.Channel, exchange, key, token string) error {
	return ch.Publish(exchange, key, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(token)})
}

// kept drains all queues.
func kept(t *testing.T, url string) map[string][]string {
	t.Helper()
	ch := channel(t, url)
	all := map[string][]string{}
	for _, q := range append([]string{"tx.in"}, txOut...) {
		for {
			d, ok, err := ch.Get(q, true)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			all[q] = append(all[q], string(d.Body))
		}
		slices.Sort(all[q])
	}
	return all
}

// txRun is the workers of all lives, and what they were answered.
type txRun struct {
	url string

	mu        sync.Mutex
	moved     []string // tokens whose commit was answered
	commits   int
	doubtful  int // commits that were not answered
	rollbacks int
	due       int // the number of commits at which action is called
	action    func()
}

func (r *txRun) at(commits int, action func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due, r.action = commits, action
}

func (r *txRun) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commits
}

func (r *txRun) committed(tokens []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved = append(r.moved, tokens...)
	if r.commits++; r.action != nil && r.commits >= r.due {
		r.action()
		r.action = nil
	}
}

func (r *txRun) tally(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// live moves tokens until there are none left, or the broker's life ends.
func (r *txRun) live() error {
	var g errgroup.Group
	for range txWorkers {
		g.Go(func() error { return lifeEnded(r.work()) })
	}
	return g.Wait()
}

func (r *txRun) work() error {
	conn, err := amqp.Dial(r.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // an ended connection is no news
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Tx()
	}
	for n := 0; err == nil; n++ {
		var tokens []string
		var last uint64
		for range txEach {
			d, ok, err := ch.Get("tx.in", false)
			if err != nil {
				return err
			}
			if ok {
				tokens, last = append(tokens, string(d.Body)), d.DeliveryTag
			}
		}
		if len(tokens) == 0 {
			return nil
		}
		if n%4 == 3 {
			if err := r.rollBack(ch, tokens, last); err != nil {
				return err
			}
		}
		err = r.move(ch, tokens, last)
	}
	return err
}

// say publishes tokens and acknowledges them.
func (r *txRun) say(ch *amqp.Channel, tokens []string, last uint64) error {
	var err error
	for _, token := range tokens {
		err = errors.Join(err, txPublish(ch, "tx.all", "", token), txPublish(ch, "", txOut[2], token))
	}
	return errors.Join(err, ch.Ack(last, true))
}

func (r *txRun) move(ch *amqp.Channel, tokens []string, last uint64) error {
	if err := r.say(ch, tokens, last); err != nil {
		return err
	}
	if err := ch.TxCommit(); err != nil {
		r.tally(&r.doubtful)
		return err
	}
	r.committed(tokens)
	return nil
}

// rollBack does the same and takes it back.
func (r *txRun) rollBack(ch *amqp.Channel, tokens []string, last uint64) error {
	if err := r.say(ch, tokens, last); err != nil {
		return err
	}
	r.tally(&r.rollbacks)
	return ch.TxRollback()
}

// verdict fails the test for every token that is not where it must be.
func (r *txRun) verdict(t *testing.T, all map[string][]string) {
	t.Helper()
	t.Logf("%d transactions were answered, %d not, %d were rolled back; %d tokens have not moved",
		r.commits, r.doubtful, r.rollbacks, len(all["tx.in"]))
	out := all[txOut[0]]
	for _, q := range txOut[1:] {
		if !slices.Equal(all[q], out) {
			t.Errorf("%s and %s differ: %d and %d tokens", q, txOut[0], len(all[q]), len(out))
		}
	}
	every := slices.Sorted(slices.Values(slices.Concat(all["tx.in"], out)))
	if len(every) != txTokens || len(slices.Compact(every)) != txTokens {
		t.Errorf("%d tokens are in %s or %s, want each of %d once", len(every), "tx.in", txOut[0], txTokens)
	}
	for _, token := range r.moved {
		if _, ok := slices.BinarySearch(out, token); !ok {
			t.Errorf("the transaction that moved token %s was answered, and it has not moved", token)
		}
	}
	if r.commits < txTokens/txEach*9/10 || r.rollbacks == 0 {
		t.Errorf("only %d transactions were answered, %d rolled back: this shows little", r.commits, r.rollbacks)
	}
}
