package api

import (
	"math"

	"github.com/batonmq/baton/core/field"
)

// object is a table as a JSON object. Of equal keys the last one counts.
func object(t field.Table) map[string]any {
	m := make(map[string]any, len(t))
	for _, f := range t {
		m[f.Key] = jsonValue(f.Value)
	}
	return m
}

// jsonValue keeps numbers, truths, texts, lists and objects what they are.
func jsonValue(v any) any {
	switch v := v.(type) {
	case field.Table:
		return object(v)
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = jsonValue(v[i])
		}
		return l
	case []byte:
		return string(v)
	case field.Timestamp:
		return int64(v)
	case field.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	case float32:
		return jsonValue(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil // JSON has no such number
		}
	}
	return v
}
