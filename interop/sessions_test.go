package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	sessionFilters  = 3 // subscriptions of each session
	sessionMessages = 5 // that wait for it
)

// BenchmarkSessions makes 100,000 persistent sessions, each with three subscriptions and five messages that wait for it, kills the broker
// and starts it again.
func BenchmarkSessions(b *testing.B) {
	n := scaled(100_000)
	for b.Loop() {
		br, log := ownBroker(b)
		start(b, br, log)
		began := time.Now()
		check(b, log, eachSession(n, func(i int) error { return makeSession(b, br.MQTTURL(), i) }))
		b.ReportMetric(float64(n)/time.Since(began).Seconds(), "sessions/s")
		began = time.Now()
		check(b, log, queueForSessions(b, br.MQTTURL(), n))
		b.ReportMetric(float64(n*sessionMessages)/time.Since(began).Seconds(), "msg/s")
		b.ReportMetric(mebi(residentSet(b, br.PID())), "resident-MiB")
		b.ReportMetric(mebi(peakResident(b, br.PID())), "peak-MiB")
		b.ReportMetric(mebi(int(diskUse(b, br.Dir))), "disk-MiB")
		restart(b, br, log)
		check(b, log, eachSession(min(n, 200), func(i int) error { return resumeSession(b, br.MQTTURL(), i*(n/min(n, 200))) }))
	}
}

// eachSession calls f for n sessions, some at a time.
func eachSession(n int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(256)
	for i := range n {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

func sessionTopic(i, filter int) string { return fmt.Sprintf("session/%d/%d", i, filter) }

// makeSession leaves a session behind whose subscriptions nobody else has.
func makeSession(b *testing.B, url string, i int) error {
	b.Helper()
	p, err := openPeer(b.Context(), url, 5)
	if err != nil {
		return err
	}
	defer p.Close() // it says goodbye before
	if _, err := p.connect(fmt.Sprint("session-", i), false); err != nil {
		return err
	}
	body := []byte{0, 1, 0} // identifier, no properties
	for f := range sessionFilters {
		body = append(append(body, mqttString(sessionTopic(i, f))...), 1)
	}
	if err := p.send(mqttSUBSCRIBE, body...); err != nil {
		return err
	}
	if _, err := p.expect(mqttSUBACK); err != nil {
		return err
	}
	return p.send(mqttDISCONNECT, 0)
}

// queueForSessions publishes with QoS 1, a hundred messages under way at a time.
func queueForSessions(b *testing.B, url string, n int) error {
	b.Helper()
	p, err := openPeer(b.Context(), url, 5)
	if err != nil {
		return err
	}
	defer p.Close() // all is acknowledged
	if err := p.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return err
	}
	if _, err := p.connect("sessions-publisher", true); err != nil {
		return err
	}
	const window = 100
	total, acked := n*sessionMessages, 0
	var batch []byte
	for sent := 0; acked < total; {
		batch = batch[:0]
		for ; sent < total && sent-acked < window; sent++ {
			body := p.publishBody(sessionTopic(sent%n, sent/n%sessionFilters), uint16(sent%60_000+1), []byte("a message that waits"))
			batch = append(batch, mqttPacket{mqttPUBLISH | 2, body}.bytes()...)
		}
		if _, err := p.Write(batch); err != nil {
			return err
		}
		for first := true; first || sent-acked > window/2 || sent == total && acked < total; first = false {
			if _, err := p.expect(mqttPUBACK); err != nil {
				return err
			}
			acked++
		}
	}
	return nil
}

// resumeSession takes a session up again and receives what waited for it.
func resumeSession(b *testing.B, url string, i int) error {
	b.Helper()
	p, err := openPeer(b.Context(), url, 5)
	if err != nil {
		return err
	}
	defer p.Close() // what it received is acknowledged by then, or comes again
	present, err := p.connect(fmt.Sprint("session-", i), false)
	if err != nil {
		return err
	}
	if !present {
		return fmt.Errorf("session %d is gone", i)
	}
	for range sessionMessages {
		pk, err := p.next()
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		d, err := p.delivery(pk)
		if err != nil || !strings.HasPrefix(d.topic, fmt.Sprintf("session/%d/", i)) {
			return fmt.Errorf("session %d got %v of %s: %w", i, pk, d.topic, err)
		}
	}
	return nil
}
