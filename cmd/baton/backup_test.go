package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun_Backup: of a broker that serves, and back into a directory that is served.
func TestRun_Backup(t *testing.T) {
	data, copied, restored := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "b", "copy"), filepath.Join(t.TempDir(), "data")
	r := startServe(t, data)
	publish(t, r.dial(t), 3)
	for _, args := range [][]string{{"backup", data, copied}, {"restore", copied, restored}} {
		if code, stdout, stderr := baton(t, nil, args...); code != exitOK || !strings.HasPrefix(stdout, "copied and verified 1 journal files") {
			t.Fatalf("%v: %d\n%s%s", args, code, stdout, stderr)
		}
	}
	publish(t, r.dial(t), 1) // later than the backup
	ids := make(map[string]bool)
	for _, dir := range []string{data, copied, restored} {
		id, err := os.ReadFile(filepath.Join(dir, "store.id"))
		if err != nil {
			t.Fatal(err)
		}
		ids[string(id)] = true
	}
	if len(ids) != 3 {
		t.Errorf("%d identities of three directories", len(ids))
	}
	ch, err := startServe(t, restored).dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 3 {
		t.Errorf("%d messages are in the restored queue, %v", q.Messages, err)
	}
}

func TestRun_BackupRefuses(t *testing.T) {
	empty, filled := t.TempDir(), filepath.Dir(writeFile(t, "notes.txt", "precious"))
	for _, tt := range []struct {
		name string
		args []string
		code exitCode
		want string
	}{
		{"nothing to back up", []string{"backup", empty, filepath.Join(empty, "b")}, exitData, "the directory holds no store"},
		{"a source that is not there", []string{"backup", filepath.Join(empty, "no"), filepath.Join(empty, "b")}, exitData, filepath.Join(empty, "no")},
		{"a target in use", []string{"backup", empty, filled}, exitData, "is not empty (it holds notes.txt): choose a new directory"},
		{"a backup that is none", []string{"restore", filled, filepath.Join(empty, "b")}, exitData, "name the data directory of a broker, or a backup"},
		{"no target", []string{"backup", empty}, exitUsage, "accepts 2 arg(s)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := baton(t, nil, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("%d, %q; want %d, %q", code, stderr, tt.code, tt.want)
			}
			if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestAmounts: what free disk space may be set to, and what that is on a disk.
func TestAmounts(t *testing.T) {
	for text, want := range map[string]amount{
		"512MiB": {bytes: 512 << 20}, "0B": {}, "1": {bytes: 1}, "1%": {percent: 1}, "99 %": {percent: 99},
	} {
		var got amount
		if err := space(&got, 0).set([]string{text}); err != nil || got != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "%", "0%", "100%", "-1%", "1.5%", "5 parsec", "-1"} {
		var got amount
		if err := space(&got, 0).set([]string{text}); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	for a, want := range map[amount]int64{{}: 0, {bytes: 5}: 5, {percent: 10}: 100_000_000_000, {percent: 99}: 990_000_000_000} {
		if got := a.of(1_000_000_000_000); got != want {
			t.Errorf("%v of a terabyte is %d", a, got)
		}
	}
}

// TestWatermarks_OfTheDisk: percent are of the disk that the data directory is on.
func TestWatermarks_OfTheDisk(t *testing.T) {
	c, err := loadConfig(source{env: []string{"BATON_STORE_FREE_LOW=2%", "BATON_STORE_FREE_HIGH=4%", "BATON_STORE_FREE_FULL=1MiB"}})
	if err != nil {
		t.Fatal(err)
	}
	c.Data = t.TempDir()
	w, err := c.watermarks()
	if err != nil || w.low == 0 || w.high != 2*w.low || w.full != 1<<20 {
		t.Errorf("%+v, %v", w, err)
	}
	c.Data = filepath.Join(c.Data, "none")
	if _, err := c.watermarks(); err == nil {
		t.Error("the size of a disk that is not there is known")
	}
}
