package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/batonmq/baton/protocols/http/api"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the tables of docs/metrics.md")

const docs = "../../docs"

// a told metric is one that some path renders.
type told struct {
	name, labels, kind, help string
}

var descPattern = regexp.MustCompile(`^Desc\{fqName: "(.+?)", help: "(.*?)"(?:, unit: ".*?")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// toldInSum are the metrics of /metrics, with those of TLS, in the order of their names.
func toldInSum(t *testing.T) []told {
	t.Helper()
	opt := Options{Health: new(Health)}
	opt.setDefaults()
	var all []told
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		newRegistry(&opt, "aggregated", func(string) bool { return false }).Describe(descs)
		newTLSCollector(nil).Describe(descs)
	}()
	histograms := storeHistograms()
	for d := range descs {
		m := descPattern.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("what is %s?", d)
		}
		v := told{name: m[1], help: strings.ReplaceAll(m[2], `\"`, `"`), labels: strings.ReplaceAll(m[4], ",", ", "), kind: "gauge"}
		for label := range strings.SplitSeq(m[3], ",") {
			if name, _, ok := strings.Cut(label, "="); ok {
				v.labels = strings.TrimPrefix(v.labels+", "+name, ", ")
			}
		}
		switch {
		case strings.HasSuffix(v.name, "_total"):
			v.kind = "counter"
		case v.name == "baton_fence_read_seconds", slices.ContainsFunc(histograms, func(s spread) bool { return s.name == v.name }):
			v.kind = "histogram"
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b told) int { return strings.Compare(a.name, b.name) })
	return slices.Compact(all)
}

var (
	headPattern   = regexp.MustCompile(`(?m)^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)\n(?:[a-z_]+\{(.*)\})?`)
	labelsPattern = regexp.MustCompile(`([a-z_]+)="`)
)

// toldOfEach are the metrics of a family of /metrics/detailed.
func toldOfEach(t *testing.T, s *Server, f string) (all []told) {
	t.Helper()
	_, body := get(t, s.MetricsAddrs()[0], "/metrics/detailed?family="+f)
	for _, m := range headPattern.FindAllStringSubmatch(body, -1) {
		if m[1] == "rabbitmq_identity_info" || m[1] == "rabbitmq_build_info" {
			continue
		}
		v := told{name: m[1], help: m[2], kind: m[3]}
		for _, label := range labelsPattern.FindAllStringSubmatch(m[4], -1) {
			v.labels = strings.TrimPrefix(v.labels+", "+label[1], ", ")
		}
		all = append(all, v)
	}
	return all
}

// objects serves with one object of each kind.
func objects(t *testing.T) *Server {
	t.Helper()
	p := primary(t)
	withQueues(t, p.Broker, 1)
	return start(t, Options{Health: serving(), Primary: func() *api.Primary { return p }, Stats: func() (Stats, bool) {
		var s Stats
		s.Add(&Protocol{Name: "amqp091"})
		return s, true
	}})
}

// TestDocs_Metrics: docs/metrics.md has every metric, its labels and what it means, and none that is not there.
func TestDocs_Metrics(t *testing.T) {
	var sums, each strings.Builder
	sums.WriteString("| metric | kind | what it is |\n|-|-|-|\n")
	for _, m := range toldInSum(t) {
		ours := !strings.HasPrefix(m.name, "go_") && !strings.HasPrefix(strings.TrimPrefix(m.name, rabbitPrefix), "process_")
		if ours { // the others depend on the system
			row(&sums, m)
		}
	}
	s := objects(t)
	each.WriteString("| family | in `/metrics/per-object` | metric | kind | what it is |\n|-|-|-|-|-|\n")
	for _, f := range families() {
		yes := "no"
		if f.perObject {
			yes = "yes"
		}
		for _, m := range toldOfEach(t, s, f.name) {
			fmt.Fprintf(&each, "| `%s` | %s ", f.name, yes)
			row(&each, m)
		}
	}
	file := filepath.Join(docs, "metrics.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := between(t, between(t, page, "sums", sums.String()), "objects", each.String())
	switch {
	case bytes.Equal(page, want):
	case *rewrite:
		if err := os.WriteFile(file, want, 0o644); err != nil { //nolint:gosec // a page for all
			t.Fatal(err)
		}
	default:
		t.Errorf("%s does not tell what is rendered: run go test ./protocols/http -run Docs -rewrite", file)
	}
}

func row(b *strings.Builder, m told) {
	name := m.name
	if m.labels != "" {
		name += "{" + m.labels + "}"
	}
	fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, m.kind, m.help)
}

// between puts text between the marks of a page.
func between(t *testing.T, page []byte, mark, text string) []byte {
	t.Helper()
	begin, end := "<!-- begin "+mark+" -->\n", "<!-- end "+mark+" -->"
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !ok || !ended {
		t.Fatalf("the page has no place for %s", mark)
	}
	return slices.Concat(before, []byte(begin), []byte(text), []byte(end), after)
}

// TestDocs_DashboardsAndRules: no dashboard, and no rule, asks for a metric that is not there.
func TestDocs_DashboardsAndRules(t *testing.T) {
	known := map[string]string{}
	for _, m := range toldInSum(t) {
		known[m.name] = m.kind
	}
	asked := map[string][]string{} // file → expressions
	for _, file := range glob(t, "grafana/*.json") {
		var page any
		if err := json.Unmarshal(read(t, file), &page); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		asked[file] = values(page, "expr", "definition")
	}
	for _, file := range glob(t, "prometheus/alerts.yml") {
		var page any
		if err := yaml.Unmarshal(read(t, file), &page); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		asked[file] = values(page, "expr")
	}
	names := regexp.MustCompile(`\b(?:baton|rabbitmq|process|go)_[a-z0-9_]+`)
	for file, all := range asked {
		if len(all) < 10 {
			t.Errorf("%s: %d expressions", file, len(all))
		}
		for _, expr := range all {
			for _, name := range names.FindAllString(expr, -1) {
				base := name
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					if b, ok := strings.CutSuffix(name, suffix); ok && known[b] == "histogram" {
						base = b
					}
				}
				if known[base] == "" || known[base] == "histogram" && base == name {
					t.Errorf("%s: nobody renders %s, of %s", file, name, expr)
				}
			}
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(docs, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	return files
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// values are the texts under the keys, wherever they are in a document.
func values(v any, keys ...string) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if text, ok := inner.(string); ok && slices.Contains(keys, k) {
				all = append(all, text)
			}
			all = append(all, values(inner, keys...)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, values(inner, keys...)...)
		}
	}
	return all
}
