package interop

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// parseStream reads "P p1 c1@2 C d1 a1 ok1 r1": connections of the publisher and of
// the consumer began, and as parseHistory does; the epoch that confirms follows @,
// and events are a second apart.
func parseStream(t *testing.T, script string) History {
	t.Helper()
	var h History
	for i, word := range strings.Fields(script) {
		at := time.Unix(int64(i), 0)
		if word == "P" || word == "C" {
			h = append(h, Event{Kind: Started, Consumer: word == "C", At: at})
			continue
		}
		word, epoch, _ := strings.Cut(word, "@")
		e := parseHistory(t, word)[0]
		e.At = at
		if epoch != "" {
			n, err := strconv.ParseUint(epoch, 10, 64)
			must(t, err)
			e.Epoch = n
		}
		h = append(h, e)
	}
	return h
}

func TestStreamCheckAcceptsWhatHonestBrokersMayDo(t *testing.T) {
	for name, c := range map[string]struct {
		qos    byte
		script string
	}{
		"a message": {0, "P C p1 c1@1 d1 a1 ok1"},
		"delivered again on a new connection, marked":    {0, "P C p1 c1@1 d1 C r1 a1"},
		"acknowledged, but not for sure":                 {0, "P C p1 c1@1 d1 a1 C r1"},
		"in doubt and lost":                              {0, "P C p1 P p2 c2@2 d2"},
		"in doubt and kept":                              {0, "P C p1 P p2 c2@2 d1 d2"},
		"out of order as a redelivery":                   {0, "P C p1 c1@1 p2 c2@1 d2 r1"},
		"a late confirm of what the next epoch has":      {0, "P p1 C P p2 c2@2 c1@1 d1 d2"},
		"QoS 1 published again and delivered again":      {1, "P C p1 d1 P c1 d1"},
		"QoS 1 delivered again with DUP":                 {1, "P C p1 c1 d1 C r1"},
		"QoS 2 once":                                     {2, "P C p1 P P c1 d1"},
		"confirmed twice, as libraries may report":       {1, "P C p1 c1 c1 d1"},
		"a redelivery seen for the first time, in order": {0, "P C p1 c1@1 C r1 p2 c2@2 d2"},
	} {
		t.Run(name, func(t *testing.T) {
			v := Stream{QoS: c.qos, History: parseStream(t, c.script)}.Check(Fences{1: time.Unix(3, 0)})
			if len(v.Violations) > 0 || v.Lost+v.Zombie+v.Unmarked+v.Twice > 0 {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestStreamCheckCatches(t *testing.T) {
	for name, c := range map[string]struct {
		qos    byte
		script string
		want   string
		count  Verdict // its numbers
	}{
		"a lost promise": {0, "P C p1 c1@2 p2 c2@2 d2", "confirmed by epoch 2 and never", Verdict{Promises: 2, Lost: 1}},
		// The fence of epoch 1 is marked after 3 s.
		"a zombie's promise":                      {0, "P C p1 P c1@1", "after its fence", Verdict{Promises: 1, Lost: 1, Zombie: 1}},
		"a promise of QoS 1 lost":                 {1, "P C p1 c1", "never delivered", Verdict{Promises: 1, Lost: 1}},
		"an unmarked duplicate":                   {0, "P C p1 c1@2 d1 C d1", "without a mark", Verdict{Promises: 1, Unmarked: 1}},
		"an unmarked duplicate of QoS 1":          {1, "P C p1 c1 d1 C d1", "without a mark", Verdict{Promises: 1, Unmarked: 1}},
		"a duplicate of QoS 2, though marked":     {2, "P C p1 c1 d1 C r1", "at QoS 2", Verdict{Promises: 1, Twice: 1}},
		"a duplicate on one connection":           {0, "P C p1 c1@2 d1 r1", "twice on one", Verdict{Promises: 1}},
		"more copies of QoS 1 than published":     {1, "P C p1 c1 d1 r1", "twice on one", Verdict{Promises: 1}},
		"a wrong order":                           {0, "P C p1 p2 d2 d1", "first time after 2", Verdict{}},
		"what was settled":                        {0, "P C p1 d1 a1 ok1 C r1", "had passed", Verdict{}},
		"what was never published":                {0, "P C d1", "never published", Verdict{}},
		"QoS 2 that is never answered":            {2, "P C p1 d1", "never confirmed", Verdict{}},
		"a confirm in time of a message now lost": {0, "P p1 c1@1 C", "by epoch 1 and never", Verdict{Promises: 1, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			v := Stream{QoS: c.qos, History: parseStream(t, c.script)}.Check(Fences{1: time.Unix(3, 0)})
			if len(v.Violations) != 1 || !strings.Contains(v.Violations[0], c.want) {
				t.Errorf("violations %q, want one with %q", v.Violations, c.want)
			}
			v.Violations = nil
			if got, want := [6]int{v.Promises, v.Lost, v.Zombie, v.Late, v.Unmarked, v.Twice},
				[6]int{c.count.Promises, c.count.Lost, c.count.Zombie, c.count.Late, c.count.Unmarked, c.count.Twice}; got != want {
				t.Errorf("promises, lost, zombie, late, unmarked, twice: %v, want %v", got, want)
			}
		})
	}
}

func TestStreamCheckCountsLatePromises(t *testing.T) {
	v := Stream{History: parseStream(t, "P C p1 d1 c1@1")}.Check(Fences{1: time.Unix(3, 0)})
	if v.Late != 1 || len(v.Violations) > 0 {
		t.Errorf("%+v", v)
	}
}

func TestFacts(t *testing.T) {
	asked, granted := func(v string) Fact { return Fact{"k", v, Asked} }, func(v string) Fact { return Fact{"k", v, Granted} }
	for name, c := range map[string]struct {
		facts []Fact
		found string
		lost  int
	}{
		"as promised":                     {[]Fact{asked("a"), granted("a")}, "a", 0},
		"never promised":                  {[]Fact{asked("a")}, "", 0},
		"in doubt and taken":              {[]Fact{asked("a"), granted("a"), asked("b")}, "b", 0},
		"in doubt and not taken":          {[]Fact{asked("a"), granted("a"), asked("b")}, "a", 0},
		"a promise is lost":               {[]Fact{asked("a"), granted("a")}, "", 1},
		"an older value is back":          {[]Fact{asked("a"), granted("a"), asked("b"), granted("b")}, "a", 1},
		"a doubt before a promise is not": {[]Fact{asked("a"), asked("b"), granted("b")}, "a", 1},
		"never asked for":                 {nil, "a", 1},
	} {
		t.Run(name, func(t *testing.T) {
			v := CheckFacts(append(c.facts, Fact{"k", c.found, Found}))
			if v.Lost != c.lost || len(v.Violations) != c.lost {
				t.Errorf("%+v, want %d lost", v, c.lost)
			}
		})
	}
}

func TestOneServes(t *testing.T) {
	at := func(node, ms int, serving bool) Sighting {
		return Sighting{node, time.UnixMilli(int64(ms)), serving}
	}
	for name, c := range map[string]struct {
		seen []Sighting
		want int
	}{
		"one after the other":  {[]Sighting{at(0, 0, true), at(0, 100, true), at(0, 200, false), at(1, 150, true), at(1, 900, true)}, 0},
		"both for too long":    {[]Sighting{at(0, 0, true), at(1, 50, true), at(0, 500, true), at(1, 600, true)}, 1},
		"a short overlap":      {[]Sighting{at(0, 0, true), at(0, 200, true), at(1, 50, true), at(1, 600, true)}, 0},
		"a stopped one":        {[]Sighting{at(0, 0, true), at(0, 200, false), at(0, 800, true), at(1, 0, true), at(1, 900, false)}, 0},
		"unordered looks":      {[]Sighting{at(1, 600, true), at(0, 500, true), at(1, 50, true), at(0, 0, true)}, 1},
		"the same node, twice": {[]Sighting{at(0, 0, true), at(0, 500, true), at(0, 0, true), at(0, 500, true)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if v := CheckOneServes(c.seen, 300*time.Millisecond); len(v.Violations) != c.want {
				t.Errorf("%q, want %d violations", v.Violations, c.want)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	gaps := parseStream(t, "P p1 c1@1 p2 P p3 c3@2 c2@1 p4 c4@2 p5 p6 p7 c7@5").Gaps()
	if len(gaps) != 2 || gaps[0] != 4*time.Second || gaps[1] != 4*time.Second {
		t.Errorf("%v, want 4s twice", gaps)
	}
}

func TestPercentile(t *testing.T) {
	for p, want := range map[int]time.Duration{50: 3, 99: 4, 0: 1} {
		if got := Percentile([]time.Duration{4, 1, 3, 2}, p); got != want {
			t.Errorf("p%d is %d, want %d", p, got, want)
		}
	}
	if Percentile(nil, 50) != 0 {
		t.Error("of nothing there is no percentile")
	}
}
