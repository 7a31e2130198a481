package interop

import (
	"fmt"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// After a death every message that waits may have been delivered before, and says so. After a handover it is known which ones were: those that
// a consumer had and did not acknowledge.
func TestTakeoverMarksWhatMayHaveBeenDelivered(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, r *failoverRun)
		want string
	}{
		{"kill", killPrimary, "[1+ 2+ 3+ 4+ 5+]"},
		{"handover", terminatePrimary, "[1+ 2+ 3 4 5]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, 2, *failoverTTL)
			c.form()
			q := newFailoverQueue(c, "marks", 10, 0)
			s, err := q.open(t.Context())
			must(t, err)
			for i := range 6 {
				must(t, s.publish(q.name, fmt.Append(nil, i)))
			}
			for i := range 6 {
				if confirm := <-s.confirms; !confirm.Ack {
					t.Fatalf("publish %d was refused", i)
				}
			}
			handOut(t, q, s, 3)
			// The acknowledgement passes before what is asked for after it on the channel.
			must(t, s.publish(q.marks(), nil))
			if confirm := <-s.confirms; !confirm.Ack {
				t.Fatal("the publish behind the acknowledgement was refused")
			}
			tt.end(t, &failoverRun{c: c})

			s, err = q.open(t.Context())
			must(t, err)
			defer s.close()
			var got []string
			for {
				d, ok, err := s.ch.Get(q.name, true)
				must(t, err)
				if !ok {
					break
				}
				mark := ""
				if d.Redelivered {
					mark = "+"
				}
				got = append(got, string(d.Body)+mark)
			}
			slices.Sort(got)
			if fmt.Sprint(got) != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

// handOut has n messages delivered to a consumer that acknowledges the first one and holds
// the others.
func handOut(t *testing.T, q *failoverQueue, s *failoverSide, n int) {
	t.Helper()
	must(t, s.ch.Qos(n, 0, false))
	in, err := s.ch.ConsumeWithContext(t.Context(), q.name, "", false, false, false, false, nil)
	must(t, err)
	var first amqp.Delivery
	for i := range n {
		d := <-in
		if d.Redelivered {
			t.Errorf("%s is marked when it is delivered for the first time", d.Body)
		}
		if i == 0 {
			first = d
		}
	}
	must(t, s.ch.Cancel(first.ConsumerTag, false))
	must(t, first.Ack(false))
}
