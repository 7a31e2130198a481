package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/batonmq/baton/persistence/storebench"
)

func runStore(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := Command()
	var out, progress bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(append([]string{"store", "--dir", t.TempDir()}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// TestStore_JSON: the report has the figures that scripts hold against their limits.
func TestStore_JSON(t *testing.T) {
	out, err := runStore(t, "--groups", "16", "--duration", "250ms", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var rep struct {
		CPUs int `json:"cpus"`
		Rows []struct {
			Messages int     `json:"group_messages"`
			Ratio    float64 `json:"ratio"`
			Store    float64 `json:"store_us_per_group"`
			Append   float64 `json:"append_us_per_group"`
			Over     float64 `json:"overwrite_us_per_group"`
		} `json:"rows"`
		Elided struct {
			Share float64 `json:"share"`
		} `json:"elided"`
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if rep.CPUs < 1 || len(rep.Rows) != 1 || rep.Elided.Share <= 0 {
		t.Fatalf("%s", out)
	}
	if r := rep.Rows[0]; r.Messages != 16 || r.Ratio <= 0 || r.Store <= 0 || r.Append <= 0 || r.Over <= 0 {
		t.Errorf("%+v", r)
	}
}

// TestStore_Table: a figure that was not measured is a dash, and every row has all columns.
func TestStore_Table(t *testing.T) {
	cpu := 1.5
	rep := storeReport{CPUs: 2, Duration: 3, Report: storebench.Report{
		Rows: []storebench.Row{
			{Messages: 16, Group: 17408, Rate: 50_000, Store: 240, Append: 400, Over: 220, Ratio: 0.6, CPU: &cpu},
			{Messages: 128, Group: 139264, Rate: 200_000, Store: 600, Append: 550, Over: 300, Ratio: 1.09},
		},
		Elided: storebench.Elided{Rate: 2e6, Share: 0.9999, Written: 0.5},
	}}
	var out strings.Builder
	if err := rep.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"16     17.0  50.0k  240       400        220           0.60   -           -           1.50        -     -",
		"128    136   200k   600       550        300           1.09   -           -           -           -     -",
		"settled at once: 2.00M msg/s, 99.9% of the messages elided, 0.50 bytes written per message, - µs CPU per message",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestStore_RefusesWhatIsOutOfBounds(t *testing.T) {
	for _, args := range [][]string{{"--duration", "1ms"}, {"--groups", "0"}, {"--groups", "16,100000"}} {
		if out, err := runStore(t, args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
