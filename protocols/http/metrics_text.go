package admin

import (
	"compress/gzip"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// textFormat is the exposition format in which objects are told.
const textFormat = "text/plain; version=0.0.4; charset=utf-8"

// textBuffer is how much text is gathered before it goes on.
const textBuffer = 32 << 10

// textWriter writes samples as they come, in Prometheus' text format: what it
// holds does not grow with their number. Its first error sticks.
type textWriter struct {
	w   io.Writer
	b   []byte
	err error
}

// header begins a metric, whose samples follow without others between them.
func (t *textWriter) header(name, help string, kind prometheus.ValueType) {
	t.b = append(t.b, "# HELP "...)
	t.b = append(t.b, name...)
	t.b = append(t.b, ' ')
	t.b = append(t.b, help...)
	t.b = append(t.b, "\n# TYPE "...)
	t.b = append(t.b, name...)
	if kind == prometheus.CounterValue {
		t.b = append(t.b, " counter\n"...)
	} else {
		t.b = append(t.b, " gauge\n"...)
	}
}

// sample writes one line. Labels are as label has made them.
func (t *textWriter) sample(name string, labels []byte, value float64) {
	t.b = append(t.b, name...)
	if len(labels) > 0 {
		t.b = append(t.b, '{')
		t.b = append(t.b, labels...)
		t.b = append(t.b, '}')
	}
	t.b = append(t.b, ' ')
	switch n := int64(value); {
	case math.IsNaN(value):
		t.b = append(t.b, "NaN"...)
	case float64(n) == value:
		t.b = strconv.AppendInt(t.b, n, 10)
	default:
		t.b = strconv.AppendFloat(t.b, value, 'g', -1, 64)
	}
	t.b = append(t.b, '\n')
	if len(t.b) >= textBuffer {
		t.flush()
	}
}

// Write implements io.Writer.
func (t *textWriter) Write(p []byte) (int, error) {
	t.flush()
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.w.Write(p)
	t.err = err
	return n, err
}

func (t *textWriter) flush() {
	if t.err == nil && len(t.b) > 0 {
		_, t.err = t.w.Write(t.b)
	}
	t.b = t.b[:0]
}

// label appends a label and its value to those before it.
func label(b []byte, name, value string) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = append(b, name...)
	b = append(b, `="`...)
	if !utf8.ValidString(value) { // which would cost the whole scrape
		value = strings.ToValidUTF8(value, "\uFFFD")
	}
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// answerText answers with what write writes, compressed where the client takes that.
func answerText(w http.ResponseWriter, r *http.Request, write func(*textWriter)) {
	w.Header().Set("Content-Type", textFormat)
	w.Header().Set("Vary", "Accept-Encoding")
	t := &textWriter{w: w, b: make([]byte, 0, textBuffer+textBuffer/8)}
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		write(t)
		t.flush()
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // fails only for a level that does not exist
	t.w = z
	write(t)
	t.flush()
	if t.err == nil {
		_ = z.Close() // a peer that went away needs no answer
	}
}

// a bodyWriter takes the body of an answer and drops its headers.
type bodyWriter struct{ io.Writer }

// Header implements http.ResponseWriter.
func (bodyWriter) Header() http.Header { return http.Header{} }

// WriteHeader implements http.ResponseWriter.
func (bodyWriter) WriteHeader(int) {}

var _ http.ResponseWriter = bodyWriter{}
