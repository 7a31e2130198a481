package interop

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

const (
	churnConnections = 1000
	churnAtOnce      = 100 // open at the same time
)

// footprint is what connections could leave behind in a broker.
type footprint struct {
	goroutines int
	heap       int // bytes in use, after a collection
	rss        int // bytes resident; 0 where the platform does not tell
}

// A thousand connections come and go, half of them without a goodbye, and leave
// nothing behind.
func TestConnectionsLeaveNothingBehind(t *testing.T) {
	b, log := ownBroker(t)
	start(t, b, log)
	churn(t, b.URL(), 2*churnAtOnce) // pools, buffers and code become warm
	before := settle(t, b, footprint{goroutines: math.MaxInt, heap: math.MaxInt})
	churn(t, b.URL(), churnConnections)
	// A connection that kept 20 KB would show.
	allowed := footprint{goroutines: before.goroutines + 5, heap: before.heap + churnConnections*20<<10}
	after := settle(t, b, allowed)
	t.Logf("before %+v, after %+v", before, after)
	if after.goroutines > allowed.goroutines || after.heap > allowed.heap {
		t.Errorf("%d connections left goroutines or memory behind: before %+v, after %+v", churnConnections, before, after)
	}
	// The runtime returns pages to the system late, so that this bound is wider.
	if after.rss > before.rss+64<<20 {
		t.Errorf("%d connections left %d MB resident", churnConnections, (after.rss-before.rss)>>20)
	}
}

// churn opens n connections, churnAtOnce at a time, which all publish and consume.
func churn(t *testing.T, url string, n int) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(churnAtOnce)
	for i := range n {
		g.Go(func() error {
			if err := visit(url, i%2 == 0); err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			return nil
		})
	}
	must(t, g.Wait())
}

// visit is one connection's life.
func visit(url string, politely bool) error {
	var socket net.Conn
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		var err error
		socket, err = amqp.DefaultDial(patience)(network, addr)
		return socket, err
	}})
	if err != nil {
		return err
	}
	defer socket.Close() // in the end it is closed either way
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		return err
	}
	in, err := ch.Consume(q.Name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	if err := ch.Publish("", q.Name, false, false, amqp.Publishing{Body: make([]byte, 1024)}); err != nil {
		return err
	}
	if _, ok := <-in; !ok { // and leave it unacknowledged
		return amqp.ErrClosed
	}
	if politely {
		return conn.Close()
	}
	return socket.Close()
}

// settle asks for the footprint until it is within the bounds, or patience ends: a
// broker hears of an ended connection a moment later than the client.
func settle(t *testing.T, b *Broker, within footprint) footprint {
	t.Helper()
	var f footprint
	eventually(t, func() bool {
		f = measure(t, b)
		return f.goroutines <= within.goroutines && f.heap <= within.heap
	})
	return f
}

var (
	goroutineTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)
	heapInUse      = regexp.MustCompile(`(?m)^# HeapInuse = (\d+)`)
)

func measure(t *testing.T, b *Broker) footprint {
	t.Helper()
	// Collecting twice also empties what pools kept for one collection.
	profile(t, b, "heap?debug=1&gc=1", heapInUse)
	return footprint{
		heap:       profile(t, b, "heap?debug=1&gc=1", heapInUse),
		goroutines: profile(t, b, "goroutine?debug=1", goroutineTotal),
		rss:        residentSet(t, b.PID()),
	}
}

// admin keeps no connections, which would count as goroutines of the broker.
var admin = sync.OnceValue(func() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
})

// profile finds a number in one of the broker's profiles.
func profile(t *testing.T, b *Broker, path string, number *regexp.Regexp) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.Admin+"/debug/pprof/"+path, http.NoBody)
	must(t, err)
	resp, err := admin().Do(req)
	must(t, err)
	defer resp.Body.Close() // read to its end
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	m := number.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in /debug/pprof/%s (status %d):\n%.500s", number, path, resp.StatusCode, text)
	}
	n, err := strconv.Atoi(string(m[1]))
	must(t, err)
	return n
}
