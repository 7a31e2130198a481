package main

import (
	"encoding/json"
	"testing"
)

func TestAdmin_Policies(t *testing.T) {
	b := startAdminBroker(t)
	b.play(t, []adminStep{
		{"", "policy list", "VHOST NAME PATTERN APPLY TO PRIORITY DEFINITION", false},
		{"", `policy set short ^tmp\. {"message-ttl":60000,"overflow":"drop-head"} --apply-to queues --priority 2`, "policy 'short' is set in vhost '/'", false},
		{"", `policy set short ^tmp {"max-length":7}`, "policy 'short' is set in vhost '/'", false},
		{"", "vhost add a/b", "vhost 'a/b' is added", false},
		{"", `policy set p _ {"message-ttl":1,"dead-letter-exchange":"dlx"} --vhost a/b --priority -1 --apply-to queues`, "policy 'p' is set in vhost 'a/b'", false},
		{"", "policy list", "VHOST NAME PATTERN APPLY TO PRIORITY DEFINITION" +
			` a/b p "" queues -1 dead-letter-exchange=dlx,message-ttl=1 / short ^tmp all 0 max-length=7`, false},
		{"", "policy list --vhost a/b", `VHOST NAME PATTERN APPLY TO PRIORITY DEFINITION a/b p "" queues -1 dead-letter-exchange=dlx,message-ttl=1`, false},
		{"", "policy list --vhost nope", "vhost 'nope' does not exist", true},
		{"", `policy set p a {"foo":1}`, `[{<<"foo">>,1}] are not recognised policy settings`, true},
		{"", `policy set p a {"max-length":-1}`, "-1 is not a valid maximum length", true},
		{"", `policy set p a max-length=1`, "is no JSON object", true},
		{"", `policy set p a {"max-length":1} --vhost nope`, "vhost 'nope' does not exist", true},
		{"", `policy set limit .* {"max-length":100} --operator`, "operator policy 'limit' is set in vhost '/'", false},
		{"", "policy list --operator", `VHOST NAME PATTERN APPLY TO PRIORITY DEFINITION / limit .* all 0 max-length=100`, false},
		{"", "policy clear limit", "there is no policy 'limit' in vhost '/'", true},
		{"", "policy clear limit --operator", "operator policy 'limit' is gone from vhost '/'", false},
		{"", "policy clear p --vhost a/b", "policy 'p' is gone from vhost 'a/b'", false},
		{"", "policy clear p --vhost a/b", "there is no policy 'p' in vhost 'a/b'", true},
	})
	_, stdout, _ := adminRun(t, nil, "", "policy", "list", "--json", "--admin-socket", b.socket)
	var all []map[string]any
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || len(all) != 1 || all[0]["name"] != "short" || all[0]["apply-to"] != "all" {
		t.Errorf("%s, %v", stdout, err)
	}
}
