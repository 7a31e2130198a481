package core

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/batonmq/baton/core/field"
)

// policyKey is a setting that a policy can make. Its name is that of the argument that makes it for one queue, without x-.
type policyKey struct {
	name  string
	noun  string // what a wrong value is not, in RabbitMQ's words
	valid func(v any) bool
	on    queueTypes
	of    policyUse
	lower func(a, b int64) int64 // of a limit: which of two counts; nil: it is none
}

// queueTypes are the types of queue to which a key means something. A policy with a key that does not is for others: see fits.
type queueTypes uint8

const (
	onClassic queueTypes = 1 << iota
	onQuorum
	onAll = onClassic | onQuorum
)

// policyUse says where a key may be.
type policyUse uint8

const (
	ofUsers policyUse = iota
	ofOperators
)

// policyKeys are all settings of policies. Those without an effect here (what RabbitMQ's clusters and storage need) are accepted, as
// applications that bring their policies along expect.
var policyKeys = [...]policyKey{
	{"message-ttl", "message TTL", wholeFrom(0), onAll, ofOperators, lowerLimit},
	{"expires", "queue expiry", wholeFrom(1), onAll, ofOperators, lowerLimit},
	{"max-length", "maximum length", wholeFrom(0), onAll, ofOperators, lowerLimit},
	{"max-length-bytes", "maximum length in bytes", wholeFrom(0), onAll, ofOperators, lowerLimit},
	{"max-in-memory-length", "maximum memory in bytes", wholeFrom(0), onAll, ofOperators, lowerLimit},
	{"max-in-memory-bytes", "maximum memory in bytes", wholeFrom(0), onAll, ofOperators, lowerLimit},
	{"delivery-limit", "delivery limit", wholeFrom(math.MinInt64), onQuorum, ofOperators, lowerOfSet},
	{"overflow", "overflow value", oneOf("drop-head", "reject-publish", "reject-publish-dlx"), onAll, ofOperators, nil},

	{"dead-letter-exchange", "dead letter exchange name", isText, onAll, ofUsers, nil},
	{"dead-letter-routing-key", "dead letter routing key", isText, onAll, ofUsers, nil},
	{"dead-letter-strategy", "dead letter strategy", oneOf("at-most-once", "at-least-once"), onQuorum, ofUsers, nil},
	{"consumer-timeout", "consumer timeout", wholeFrom(0), onAll, ofUsers, lowerLimit},
	{"alternate-exchange", "alternate exchange name", isText, onAll, ofUsers, nil},

	{"deduplication-window", "deduplication window", wholeFrom(0), onAll, ofUsers, nil},
	{"deduplication-size", "deduplication size", wholeFrom(0), onAll, ofUsers, nil},
	{"delayed-retry-type", "delayed retry type", oneOf("disabled", "all", "failed", "returned"), onAll, ofUsers, nil},
	{"delayed-retry-min", "delayed retry minimum", wholeFrom(0), onAll, ofUsers, nil},
	{"delayed-retry-max", "delayed retry maximum", wholeFrom(0), onAll, ofUsers, nil},

	{"queue-mode", "queue-mode value", oneOf("default", "lazy"), onClassic, ofUsers, nil},
	{"queue-version", "queue-version value", wholeIn(1, 2), onAll, ofUsers, nil},
	{"queue-leader-locator", "queue leader locator value", oneOf("client-local", "balanced", "random", "least-leaders"), onQuorum, ofUsers, nil},
	{"queue-master-locator", "queue-master-locator value", oneOf("client-local", "random", "min-masters"), onClassic, ofUsers, nil},
	{"initial-cluster-size", "cluster size", wholeFrom(0), 0, ofUsers, nil},
	{"target-group-size", "target group size", wholeFrom(0), onQuorum, ofOperators, lowerLimit},
	{"max-age", "max age", isText, 0, ofUsers, nil},
	{"stream-max-segment-size-bytes", "segment size", wholeFrom(0), 0, ofUsers, nil},
	{"stream-filter-size-bytes", "filter size", wholeIn(16, 255), 0, ofUsers, nil},
	{"ha-mode", "ha-mode value", oneOf("all", "exactly", "nodes"), onClassic, ofUsers, nil},
	{"ha-params", "ha-params value", anything, onClassic, ofUsers, nil},
	{"ha-sync-mode", "ha-sync-mode value", oneOf("manual", "automatic"), onClassic, ofUsers, nil},
	{"ha-sync-batch-size", "ha-sync-batch-size value", wholeFrom(1), onClassic, ofUsers, nil},
	{"ha-promote-on-shutdown", "ha-promote-on-shutdown value", oneOf("always", "when-synced"), onClassic, ofUsers, nil},
	{"ha-promote-on-failure", "ha-promote-on-failure value", oneOf("always", "when-synced"), onClassic, ofUsers, nil},
}

func findPolicyKey(name string) *policyKey {
	for i := range policyKeys {
		if policyKeys[i].name == name {
			return &policyKeys[i]
		}
	}
	return nil
}

func anything(any) bool { return true }

func isText(v any) bool { return typeIs[string](v) }

func typeIs[T any](v any) bool { _, ok := v.(T); return ok }

func oneOf(words ...string) func(any) bool {
	return func(v any) bool { s, ok := v.(string); return ok && slices.Contains(words, s) }
}

func wholeFrom(least int64) func(any) bool { return wholeIn(least, math.MaxInt64) }

func wholeIn(least, most int64) func(any) bool {
	return func(v any) bool { n, ok := field.Int(v); return ok && least <= n && n <= most }
}

func lowerLimit(a, b int64) int64 { return min(a, b) }

// lowerOfSet is lowerLimit where a negative number is no limit.
func lowerOfSet(a, b int64) int64 {
	if a < 0 || b < 0 {
		return max(a, b)
	}
	return min(a, b)
}

// lowest returns the lower of two values of a limit; ok is false where one is not a number.
func (k *policyKey) lowest(a, b any) (v any, ok bool) {
	x, isX := field.Int(a)
	y, isY := field.Int(b)
	if k.lower == nil || !isX || !isY {
		return nil, false
	}
	return k.lower(x, y), true
}

// mergePolicies returns what a policy and an operator policy amount to together; either may be nil. Where both say something about a limit
// the lower counts, and where it is no limit the operator's word.
func mergePolicies(p, operator *policy) field.Table {
	var t field.Table
	if p != nil {
		t = slices.Clone(p.Definition)
	}
	if operator == nil {
		return t
	}
	for _, f := range operator.Definition {
		i := slices.IndexFunc(t, func(o field.Field) bool { return o.Key == f.Key })
		if i < 0 {
			t = append(t, f)
			continue
		}
		if v, ok := findPolicyKey(f.Key).lowest(t[i].Value, f.Value); ok {
			f.Value = v
		}
		t[i] = f
	}
	sortDefinition(t)
	return t
}

func sortDefinition(t field.Table) {
	slices.SortStableFunc(t, func(a, b field.Field) int { return strings.Compare(a.Key, b.Key) })
}

// governArgs returns the arguments of a queue or an exchange as they would be if whoever declared it had known what policies say. Where both
// speak of a limit the lower one counts, and else the argument's word.
func governArgs(args, definition field.Table) field.Table {
	if len(definition) == 0 {
		return args
	}
	t := slices.Clone(args)
	for _, f := range definition {
		k := findPolicyKey(f.Key)
		if k == nil {
			continue
		}
		f.Key = k.argument()
		i := slices.IndexFunc(t, func(o field.Field) bool { return o.Key == f.Key })
		if i < 0 {
			t = append(t, k.asArgument(f))
		} else if v, ok := k.lowest(t[i].Value, f.Value); ok {
			t[i].Value = v
		}
	}
	return t
}

// argument is the name of the argument that makes the setting.
func (k *policyKey) argument() string {
	if k.name == argAlternate {
		return k.name
	}
	return "x-" + k.name
}

// asArgument bounds times of policies by what arguments can say, which in RabbitMQ is not for policies.
func (k *policyKey) asArgument(f field.Field) field.Field {
	switch k.name {
	case "message-ttl", "expires", "consumer-timeout":
		if n, ok := field.Int(f.Value); ok {
			f.Value = min(n, maxPeriod)
		}
	}
	return f
}

// newPolicy checks a policy and makes it ready. The error is RabbitMQ's sentence, or several of them on lines of their own.
func (b *Broker) newPolicy(p Policy) (*policy, error) {
	p.Definition = slices.Clone(p.Definition)
	sortDefinition(p.Definition)
	var wrong []string
	if text := p.checkDefinition(); text != "" {
		wrong = append(wrong, text)
	}
	if p.ApplyTo == "" {
		p.ApplyTo = applyToAll
	}
	if !isApplyTo(p.ApplyTo) {
		wrong = append(wrong, fmt.Sprintf("apply-to '%s' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', "+
			"'exchanges', or 'all'", p.ApplyTo))
	}
	matches, err := b.opt.CompilePattern(p.Pattern)
	if err != nil {
		wrong = append(wrong, fmt.Sprintf("pattern should be regular expression but is invalid: %v", err))
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return &policy{Policy: p, matches: matches, fits: fits(p.Definition)}, nil
}

// checkDefinition returns what is wrong with the settings first, empty if nothing is.
func (p *Policy) checkDefinition() string {
	if len(p.Definition) == 0 {
		return "no policy provided"
	}
	var unknown []string
	for _, f := range p.Definition {
		k := findPolicyKey(f.Key)
		switch {
		case k == nil || p.Operator && k.of != ofOperators:
			unknown = append(unknown, fmt.Sprintf("{%s,%s}", erlangTerm(f.Key), erlangTerm(f.Value)))
		case !k.valid(f.Value):
			return fmt.Sprintf("%s is not a valid %s", erlangTerm(f.Value), k.noun)
		}
	}
	if len(unknown) > 0 {
		return fmt.Sprintf("[%s] are not recognised policy settings", strings.Join(unknown, ","))
	}
	return ""
}

// erlangTerm writes a value as RabbitMQ's texts have it.
func erlangTerm(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "<<" + strconv.Quote(v) + ">>"
	case []any:
		list := make([]string, len(v))
		for i := range v {
			list[i] = erlangTerm(v[i])
		}
		return "[" + strings.Join(list, ",") + "]"
	case field.Table:
		list := make([]string, len(v))
		for i := range v {
			list[i] = erlangTerm(v[i].Key) + " => " + erlangTerm(v[i].Value)
		}
		return "#{" + strings.Join(list, ",") + "}"
	}
	return fmt.Sprint(v)
}
