package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

func parametersText(all []core.Parameter) string {
	var words []string
	for _, p := range all {
		words = append(words, fmt.Sprintf("%s|%s|%s=%s", p.VHost, p.Component, p.Name, p.Value))
	}
	return strings.Join(words, " ")
}

// What parameters there are, and what they hold, is the same after a crash; that of a vhost ends with it, a global one does not.
func TestParametersSurviveACrash(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(vhost, component, name, value string, created bool) {
		t.Helper()
		got, err := b.SetParameter(t.Context(), core.Parameter{VHost: vhost, Component: component, Name: name, Value: []byte(value)})
		if err != nil || got != created {
			t.Fatalf("set %s: created %t, %v", name, got, err)
		}
	}
	for _, name := range []string{"v", "doomed"} {
		if _, err := b.Access().PutVHost(t.Context(), core.VHostInfo{Name: name, MaxConnections: -1, MaxQueues: -1}); err != nil {
			t.Fatal(err)
		}
	}
	set("v", "shovel", "b", `{"a": 1}`, true)
	set("v", "shovel", "a", "1", true)
	set("v", "own", "z", "[]", true)
	set("/", "shovel", "a", "2", true)
	set("doomed", "shovel", "a", "3", true)
	set("", "", "name", `"x"`, true)
	set("", "", "gone", "4", true)
	set("", "own", "name", "5", true)
	set("v", "shovel", "a", "1.50", false)
	set("v", "shovel", "a", "1.50", false)
	for _, tt := range []struct {
		vhost, component, name string
		existed                bool
	}{{"", "", "gone", true}, {"", "", "gone", false}, {"v", "own", "z", true}, {"v", "own", "z", false}} {
		if existed, err := b.ClearParameter(t.Context(), tt.vhost, tt.component, tt.name); existed != tt.existed || err != nil {
			t.Errorf("clear %s: %t, %v", tt.name, existed, err)
		}
	}
	if _, err := b.Access().DeleteVHost(t.Context(), "doomed"); err != nil {
		t.Fatal(err)
	}
	const want, global = `/|shovel|a=2 v|shovel|a=1.50 v|shovel|b={"a": 1}`, `||name="x"`
	check := func() {
		t.Helper()
		if got := parametersText(b.Parameters()); got != want {
			t.Errorf("parameters are %s\nwant %s", got, want)
		}
		if got := parametersText(b.GlobalParameters()); got != global {
			t.Errorf("global parameters are %s, want %s", got, global)
		}
		if p, ok := b.Parameter("v", "shovel", "a"); !ok || string(p.Value) != "1.50" {
			t.Errorf("parameter is %s, %t", p.Value, ok)
		}
		if p, ok := b.Parameter("", "own", "name"); !ok || string(p.Value) != "5" { // somebody's own, which is not listed
			t.Errorf("parameter is %s, %t", p.Value, ok)
		}
		if _, ok := b.Parameter("doomed", "shovel", "a"); ok {
			t.Error("a parameter has outlived its vhost")
		}
	}
	check()
	store.Crash()
	b.Close()
	store = memstore.Open(memstore.Options{Disk: store.Disk()})
	if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	check()
}

func TestParametersThatCannotBe(t *testing.T) {
	b := engine(t, core.Options{})
	for _, tt := range []struct {
		name string
		p    core.Parameter
		kind core.Kind
		text string
	}{
		{"no name", core.Parameter{VHost: "/", Component: "c"}, core.Invalid, "a name may not be empty"},
		{"no component", core.Parameter{VHost: "/", Name: "n"}, core.Invalid, "a name may not be empty"},
		{"no vhost", core.Parameter{VHost: "nope", Component: "c", Name: "n"}, core.NotFound, "vhost nope not found"},
		{
			"too large",
			core.Parameter{VHost: "/", Component: "c", Name: "n", Value: make([]byte, 64<<10)},
			core.Invalid,
			"parameter 'n' of component 'c' in vhost '/' cannot be kept",
		},
	} {
		_, err := b.SetParameter(t.Context(), tt.p)
		if core.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if n := len(b.Parameters()) + len(b.GlobalParameters()); n != 0 {
		t.Errorf("%d parameters were kept", n)
	}
}
