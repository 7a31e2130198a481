package interop

import (
	"strings"
	"testing"
)

func TestCheckMQTTAcceptsWhatAnHonestBrokerMayDo(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		qos          byte
	}{
		{"nothing happens", "start", 2},
		{"one message", "start p1 c1 d1", 2},
		{"delivered before it is confirmed", "start p1 d1 c1", 2},
		{"sent again after a crash and delivered once", "start p1 start c1 d1", 2},
		{"delivered, not confirmed until later", "start p1 d1 start c1", 2},
		{"topics are independent", "start p2 p3 c2 c3 d3 d2", 2},
		{"not answered, comes back", "start p1 c1 d1 start r1", 1},
		{"published again, comes again", "start p1 d1 start c1 d1", 1},
		{"published again, both copies in one life", "start p1 start c1 d1 d1", 1},
		{"old ones come back before new ones", "start p2 p4 p6 c2 c4 c6 d2 d4 start r2 r4 d6", 1},
	} {
		if v := parseHistory(t, tt.script).CheckMQTT(tt.qos, 2); len(v) != 0 {
			t.Errorf("%s: %q is refused: %v", tt.name, tt.script, v)
		}
	}
}

func TestCheckMQTTFindsEachBrokenPromise(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
		qos                byte
	}{
		{"loss", "start p1 c1 start", "message 1 was published and never delivered", 1},
		{"loss of one among others", "start p1 p2 p3 c1 c2 c3 d1 d3", "message 2 was published and never delivered", 2},
		{"no answer", "start p1 d1 start", "message 1 was published and never confirmed", 2},
		{"order", "start p2 p4 c2 c4 d4 d2", "message 2 was delivered for the first time after message 4 of its topic", 2},
		{"order after a crash", "start p2 p4 p6 c2 c4 c6 d2 start d6 d4", "message 4 was delivered for the first time after message 6 of its topic", 1},
		{"twice at QoS 2", "start p1 d1 start c1 r1", "message 1 was delivered again at QoS 2", 2},
		{"twice in a life", "start p1 c1 d1 r1", "message 1 was delivered more often in one life than it was published", 1},
		{"three times, published twice", "start p1 start c1 d1 d1 d1", "message 1 was delivered more often in one life than it was published", 1},
		{"unmarked repetition", "start p1 c1 d1 start d1", "message 1 was delivered again without DUP", 1},
		{"invention", "start d7", "message 7 was delivered and never published", 1},
	} {
		v := parseHistory(t, tt.script).CheckMQTT(tt.qos, 2)
		if len(v) != 1 || !strings.HasSuffix(v[0], tt.want) {
			t.Errorf("%s: %q gives %q, want one that says %q", tt.name, tt.script, v, tt.want)
		}
	}
}
