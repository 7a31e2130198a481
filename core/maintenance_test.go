package core_test

import (
	"testing"

	"github.com/batonmq/baton/core"
)

func TestMaintenanceKeepsConnectionsOutAndNothingElse(t *testing.T) {
	b := limited(t)
	inside := connected(t, b, "/", "bob")
	b.SetMaintenance(true)
	if !b.InMaintenance() {
		t.Error("it does not say so")
	}
	_, err := connect(t, b, "/", "bob")
	checkText(t, err, core.Closing, "the broker is in maintenance and takes no connections")
	_, err = connect(t, b, "nowhere", "bob")
	checkText(t, err, core.NotFound, "vhost nowhere not found")
	if _, err := b.Attach("/", core.SessionOptions{Conn: "of the broker itself"}); err != nil {
		t.Errorf("what is no connection: %v", err)
	}
	out := core.SessionOptions{Outgoing: true, Info: func(bool) core.ConnectionInfo { return core.ConnectionInfo{} }, End: func(error) {}}
	bridge, err := b.Attach("/", out)
	if err != nil {
		t.Fatalf("a connection that the broker has opened: %v", err)
	}
	if all := b.Clients(); len(all) != 1 || all[0] != inside.session {
		t.Errorf("%d clients", len(all))
	}
	bridge.Close()
	if len(inside.reasons) > 0 || len(b.Sessions()) != 1 {
		t.Errorf("who is inside: told %v; %d listed", inside.reasons, len(b.Sessions()))
	}
	b.SetMaintenance(false)
	connected(t, b, "/", "bob")
}
