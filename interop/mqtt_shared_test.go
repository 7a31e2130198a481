package interop

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/paho/session/state"
)

// mqttCrashMembers is how many sessions share the messages.
const mqttCrashMembers = 3

// A broker that is killed three times while messages pass through it into a shared
// subscription loses nothing at QoS 1, and hands each message of QoS 2 to one of
// the sessions, once.
func TestKilledBrokerKeepsSharedSubscriptions(t *testing.T) {
	needOwnMQTT(t)
	t.Parallel()
	for _, c := range []mqttCrashCase{
		{"QoS 1 TCP", 5, "tcp", 1},
		{"QoS 2 WebSocket", 5, "ws", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			killMQTT(t, c, newSharedCrash)
		})
	}
}

// newSharedCrash has members in place of the subscriber. Messages of one topic go
// to several of them, so that they have no order.
func newSharedCrash(t *testing.T, c mqttCrashCase, broker string) *mqttCrash {
	t.Helper()
	r := newMQTTCrash(t, c, broker)
	r.filter, r.order = "$share/g/"+r.filter, mqttCrashLast+1
	var sessions [mqttCrashMembers]*state.State
	for i := range sessions {
		sessions[i] = state.NewInMemory()
	}
	seen := make(map[int]bool)
	get := func(payload []byte, dup bool) {
		message := messageOf(payload)
		r.rec.Add(Event{Kind: Delivered, Message: message, Redelivered: dup})
		r.mu.Lock()
		defer r.mu.Unlock()
		if seen[message] {
			return
		}
		if seen[message] = true; len(seen) == mqttCrashLast {
			close(r.ended)
		}
	}
	r.sub = func(ctx context.Context, l mqttLink, _ mqttGetter) (mqttReceiver, bool, error) {
		return dialMembers(ctx, l, sessions[:], get)
	}
	return r
}

// mqttMembers is the connections of all members. It has ended when all have.
type mqttMembers []client5

func dialMembers(ctx context.Context, l mqttLink, sessions []*state.State, get mqttGetter) (mqttMembers, bool, error) {
	var open sync.WaitGroup
	open.Add(len(sessions))
	onEnd := l.onEnd
	go func() {
		open.Wait()
		onEnd()
	}()
	var members mqttMembers
	all, id := true, l.clientID
	l.onEnd = open.Done
	for i, session := range sessions {
		l.clientID = id + string(rune('a'+i))
		c, present, err := dial5(ctx, l, session, get)
		if err != nil {
			return members, false, err
		}
		members, all = append(members, c), all && present
	}
	return members, all, nil
}

func (m mqttMembers) subscribe(filter string, qos byte) (err error) {
	for _, c := range m {
		err = errors.Join(err, c.subscribe(filter, qos))
	}
	return err
}

func (m mqttMembers) close() {
	for _, c := range m {
		c.close()
	}
}
