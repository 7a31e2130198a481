package api

import (
	"encoding/json"
	"testing"
)

func TestNodes(t *testing.T) {
	f := newFixture(t)
	f.facts = NodeFacts{MemoryUsed: 50, MemoryWatermark: 100, DiskFree: 7, DiskWatermark: 8, FilesUsed: 3, FilesLimit: 9, ContextSwitches: -1}
	f.peers = []Peer{
		{Name: "b", Alive: true, Role: "standby", Eligible: true, CaughtUp: true, Addresses: []string{"amqp://b:5672"}},
		{Name: "c", Role: "left", Reason: "it has ended"},
	}
	f.wantBody(t, "/api/nodes?columns=name,running,role,type,eligible,mem_used,mem_limit,fd_total,addresses,reason",
		`[{"fd_total":9,"mem_limit":100,"mem_used":50,"name":"node-a","role":"primary","running":true,"type":"disc"},`+
			`{"addresses":["amqp://b:5672"],"eligible":true,"name":"b","role":"standby","running":true,"type":"disc"},`+
			`{"addresses":[],"eligible":false,"name":"c","reason":"it has ended","role":"left","running":false,"type":"disc"}]`)
	f.wantBody(t, "/api/nodes/b?columns=name,running,caught_up", `{"caught_up":true,"name":"b","running":true}`)
	f.broker.SetMemoryAlarm(true)
	f.wantBody(t, "/api/nodes/node-a?columns=mem_alarm,disk_free_alarm,disk_free,disk_free_limit,context_switches",
		`{"disk_free":7,"disk_free_alarm":false,"disk_free_limit":8,"mem_alarm":true}`)
	f.wantBody(t, "/api/nodes/node-a?columns=being_drained", `{"being_drained":false}`)
	f.broker.SetMaintenance(true)
	f.wantBody(t, "/api/nodes/node-a?columns=being_drained", `{"being_drained":true}`)
	if w := f.as(t, "adm", "GET", "/api/nodes/b/memory", ""); w.Code != 404 {
		t.Errorf("memory of another node: %d %s", w.Code, w.Body)
	}
}

func TestNodeMemory(t *testing.T) {
	f := newFixture(t)
	f.facts = NodeFacts{MemoryUsed: 150, Memory: MemoryParts{Objects: 100, Free: 50, Stacks: 30, Runtime: 20, Mapped: 200, Program: 200, Resident: 400}}
	f.wantBody(t, "/api/nodes/node-a/memory", `{"memory":{"allocated_unused":50,"binary":0,"code":200,"other_proc":130,"other_system":20,`+
		`"reserved_unallocated":0,"strategy":"rss","total":{"allocated":200,"erlang":150,"rss":400}}}`)
	var answer struct {
		Memory map[string]int `json:"memory"`
	}
	if err := json.Unmarshal(f.as(t, "adm", "GET", "/api/nodes/node-a/memory/relative", "").Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if m := answer.Memory; m["code"] != 50 || m["other_proc"] != 33 || m["allocated_unused"] != 13 || m["total"] != 100 {
		t.Errorf("relative: %v", m)
	}
}
