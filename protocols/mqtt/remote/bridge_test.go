package remote_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/remote"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

var noProperties wire.PublishProperties

// inBubble runs f with a local and a far side that are observed.
func inBubble(t *testing.T, f func(local, far *side)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		local, far := newSide(t, "local"), newSide(t, "far")
		local.observe()
		far.observe()
		f(local, far)
	})
}

// versions are those of the protocol.
func versions() []wire.Version { return []wire.Version{wire.V5, wire.V311} }

// What is published on one side arrives once on the other if a rule carries it, under the name that its prefixes give
// it, and nothing comes back.
func TestBridge_CarriesWhatItsRulesSay(t *testing.T) {
	for _, v := range versions() {
		version := func(o *remote.Options) { o.Version = v }
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, func(local, far *side) {
				local.bridge(far, version,
					`up/# out 2 "" site/`, `down/# in 2 "" site/`, `low out 1`, `none/+ out 0`,
					`x/# both 1 here/ there/`, `"" both 1 one/topic its/other/name`)
				settle()
				for _, m := range []struct {
					from  *side
					topic string
					qos   uint8
					there string // "": nowhere
				}{
					{local, "up/a/b", 2, "site/up/a/b a q2"},
					{local, "up", 1, "site/up a q1"},
					{local, "up/a", 0, "site/up/a a q0"},
					{local, "upper", 1, ""},
					{local, "down/a", 1, ""},
					{far, "site/down/a", 2, "down/a a q2"},
					{far, "site/down/x.y/*", 1, "down/x.y/* a q1"},
					{far, "down/a", 1, ""},
					{far, "site/up/a", 1, ""},
					{local, "low", 2, "low a q1"},
					{local, "none/x", 2, "none/x a q0"},
					{local, "here/x/y", 2, "there/x/y a q1"},
					{far, "there/x/y", 2, "here/x/y a q1"},
					{local, "there/x/y", 1, ""},
					{local, "one/topic", 1, "its/other/name a q1"},
					{far, "its/other/name", 1, "one/topic a q1"},
				} {
					m.from.publish(m.topic, "a", m.qos, false)
					to := far
					if m.from == far {
						to = local
					}
					m.from.expect(fmt.Sprintf("%s a q%d", m.topic, m.qos))
					if m.there == "" {
						to.expect()
					} else {
						to.expect(m.there)
					}
				}
				time.Sleep(time.Hour)
				local.expect()
				far.expect()
			})
		})
	}
}

// What waits for a far broker that is away is on disk, and comes in order and once when that is there.
func TestBridge_KeepsWhatTheFarBrokerIsAwayFor(t *testing.T) {
	for _, v := range versions() {
		version := func(o *remote.Options) { o.Version = v }
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, func(local, far *side) {
				t := local.t
				far.crash()
				local.bridge(far, version, `t/# out 2`)
				var want []string
				send := func(n int) {
					for range n {
						body := fmt.Sprint(len(want))
						local.publish("t/x", body, uint8(1+len(want)%2), false)
						want = append(want, fmt.Sprintf("t/x %s q%d", body, 1+len(want)%2))
					}
				}
				send(20)
				local.publish("t/x", "lost", 0, false)
				local.restart()
				b := local.bridge(far, version, `t/# out 2`)
				send(20)
				if s := b.Stats(); s.Connected || s.Waiting != 40 {
					t.Errorf("away: %+v", s)
				}
				far.open()
				settle()
				send(1)
				for qos, seen := range byQoS(far.seen()) { // each in its order; between them there is none
					if want := byQoS(want)[qos]; !slices.Equal(seen, want) {
						t.Errorf("far has seen %q, want %q", seen, want)
					}
				}
				if s := b.Stats(); !s.Connected || s.Waiting != 0 || s.Connects != 1 {
					t.Errorf("connected: %+v", s)
				}
			})
		})
	}
}

func byQoS(all []string) (by [3][]string) {
	for _, m := range all {
		qos := m[len(m)-1] - '0'
		by[qos] = append(by[qos], m)
	}
	return by
}

// cutting is a connection that breaks after some bytes.
type cutting struct {
	net.Conn
	left atomic.Int64
}

func (c *cutting) Write(b []byte) (int, error) {
	if c.left.Add(-int64(len(b))) < 0 {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *cutting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left.Add(-int64(n)) < 0 {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// Connections that break again and again, brokers on both sides that crash: QoS 2 arrives exactly once and in order in
// both directions, QoS 1 at least once.
func TestBridge_IsExactWhateverBreaks(t *testing.T) {
	const messages = 300
	for _, v := range versions() {
		version := func(o *remote.Options) { o.Version = v }
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, func(local, far *side) {
				t := local.t
				seed := rand.Uint64()
				random := rand.New(rand.NewPCG(seed, 0))
				t.Logf("seed %d", seed)
				var connections atomic.Int64
				begin := func() {
					cuts := rand.New(rand.NewPCG(random.Uint64(), 0))
					local.bridgeBy(func() (net.Conn, error) {
						nc, err := far.dial()
						if err != nil {
							return nil, err
						}
						connections.Add(1)
						c := &cutting{Conn: nc}
						c.left.Store(200 + cuts.Int64N(2000))
						return c, nil
					}, func(o *remote.Options) { version(o); o.RetryMin, o.RetryMax = time.Second, time.Second }, `out/# out 2`, `in/# in 2`)
				}
				begin()
				for i := range messages {
					local.publish(fmt.Sprintf("out/%d", i%2), fmt.Sprint(i), uint8(1+i%2), false)
					if i == 0 {
						settle() // the far broker has the bridge's session, which QoS 2 needs
					}
					far.publish(fmt.Sprintf("in/%d", i%2), fmt.Sprint(i), uint8(1+i%2), false)
					switch {
					case i%100 == 50:
						far.restart()
					case i%100 == 99:
						local.restart()
						begin()
					case i%7 == 0:
						time.Sleep(time.Second)
					}
				}
				var out, in []string
				for range 60 {
					settle()
					out = append(out, far.seen()...)
					in = append(in, local.seen()...)
				}
				if connections.Load() < 10 {
					t.Errorf("there were %d connections: nothing has broken", connections.Load())
				}
				checkExact(t, "out", out, messages)
				checkExact(t, "in", in, messages)
			})
		})
	}
}

// checkExact looks at the messages of one direction among those that a side has seen.
func checkExact(t *testing.T, direction string, seen []string, n int) {
	t.Helper()
	var once []string
	atLeast := map[string]bool{}
	for _, m := range seen {
		switch {
		case !strings.HasPrefix(m, direction+"/"):
		case strings.HasSuffix(m, "q2"):
			once = append(once, m)
		default:
			atLeast[m] = true
		}
	}
	var want []string
	for i := range n {
		m := fmt.Sprintf("%s/%d %d q%d", direction, i%2, i, 1+i%2)
		if i%2 == 1 {
			want = append(want, m)
		} else if !atLeast[m] {
			t.Errorf("%s is lost", m)
		}
	}
	if !slices.Equal(once, want) {
		t.Errorf("%s with QoS 2: %d messages, want %d\n%q", direction, len(once), len(want), once)
	}
}

// What is retained is carried when a rule is new, as retained, and from then on as it changes.
func TestBridge_CarriesWhatIsRetained(t *testing.T) {
	inBubble(t, func(local, far *side) {
		t := local.t
		local.publish("t/a", "old", 1, true)
		far.publish("f/a", "old", 1, true)
		local.seen()
		far.seen()
		b := local.bridge(far, nil, `t/# out 1`, `f/# in 1`)
		settle()
		far.expect("t/a old q1 retain")
		local.expect("f/a old q1 retain")
		local.publish("t/a", "", 1, true)
		far.expect("t/a  q1 retain")
		b.Stop(t.Context())
		local.bridge(far, nil, `t/# out 1`, `f/# in 1`)
		settle()
		far.expect()
		local.seen() // what was cleared
		local.expect()
	})
}

// What was retained before a rule is sent to a far broker that knows nothing yet as what is retained, what is retained later as what
// the rule has collected: each once. Only what nobody keeps for a bridge that is away is sent as what is retained then.
func TestBridge_CarriesWhatIsRetainedOnce(t *testing.T) {
	inBubble(t, func(local, far *side) {
		far.crash()
		local.publish("t/before", "1", 1, true)
		local.publish("t/changed", "1", 1, true)
		local.bridge(far, nil, `t/# out 1`)
		local.publish("t/after", "2", 1, true)
		local.publish("t/changed", "2", 1, true)
		local.publish("t/low", "2", 0, true)
		far.open()
		settle()
		got := far.seen()
		slices.Sort(got)
		want := []string{"t/after 2 q1 retain", "t/before 1 q1 retain", "t/changed 2 q1 retain", "t/low 2 q0 retain"}
		if !slices.Equal(got, want) {
			local.t.Errorf("far has seen %q, want %q", got, want)
		}
	})
}

// A rule that goes takes what it collects along, one that changes goes on.
func TestBridge_RulesThatChange(t *testing.T) {
	inBubble(t, func(local, far *side) {
		t := local.t
		far.crash()
		local.bridge(far, nil, `a out 1`, `b out 1`, `c out 1`).Stop(t.Context())
		for _, topic := range []string{"a", "b", "c"} {
			local.publish(topic, "1", 2, false)
		}
		b := local.bridge(far, nil, `a out 1`, `b out 2 "" x/`)
		for _, topic := range []string{"a", "b", "c"} {
			local.publish(topic, "2", 2, false)
		}
		far.open()
		settle()
		if got := byQoS(far.seen()); !slices.Equal(got[1], []string{"a 1 q1", "a 2 q1"}) || !slices.Equal(got[2], []string{"x/b 1 q2", "x/b 2 q2"}) {
			t.Errorf("far has seen %q", got)
		}
		if s := b.Stats(); s.Dropped != 1 || s.Waiting != 0 {
			t.Errorf("what no rule has a place for: %+v", s)
		}
	})
}

// A bridge that is not configured any more leaves nothing, others stay.
func TestRetire(t *testing.T) {
	inBubble(t, func(local, far *side) {
		t := local.t
		far.crash()
		for _, name := range []string{"stays", "goes"} {
			local.bridge(far, func(o *remote.Options) { o.Name = name }, `a out 1`).Stop(t.Context())
		}
		local.publish("a", "1", 1, false)
		local.restart()
		err := remote.Retire(t.Context(), local.broker, []string{"/"}, func(vhost, name string) bool { return vhost == "/" && name == "stays" }, local.log())
		if err != nil {
			t.Fatal(err)
		}
		local.restart()
		far.open()
		for name, want := range map[string]string{"stays": "a 1 q1", "goes": ""} {
			b := local.bridge(far, func(o *remote.Options) { o.Name = name }, `a out 1`)
			settle()
			if got := strings.Join(far.seen(), ","); got != want {
				t.Errorf("%s has carried %q, want %q", name, got, want)
			}
			b.Stop(t.Context())
		}
	})
}

// Both sides are told whether the bridge is connected, also when its broker dies.
func TestBridge_Notifies(t *testing.T) {
	inBubble(t, func(local, far *side) {
		t := local.t
		notify := func(o *remote.Options) { o.Notify = "state" }
		b := local.bridge(far, notify, `a out 1`)
		settle()
		far.expect("state 1 q0 retain")
		local.expect("state 1 q1 retain")
		b.Stop(t.Context())
		far.expect("state 0 q0 retain")
		local.expect("state 0 q1 retain")
		local.bridge(far, notify, `a out 1`)
		settle()
		far.expect("state 1 q0 retain")
		local.crash()
		far.expect("state 0 q0 retain")
		local.open()
	})
}
