package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A route is a path and what can be done with it.
type route struct {
	elements []string // "{name}" stands for any
	verbs    map[string]verb
	maxBody  int64 // what a request may send
}

// A verb is what one method does.
type verb struct {
	may  role
	does string // for the audit; empty: it changes nothing
	run  func(*call) (any, error)
}

// routes is the table of all there is. The first path that matches is it, so
// those with a word come before those with a name in its place.
func routes() []route {
	type verbs = map[string]verb
	policies, operator := policyVerbs{}, policyVerbs{operator: true}
	const get, put, del, post = http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPost
	table := []struct {
		path  string
		verbs verbs
	}{
		{"/api/overview", verbs{get: {management, "", getOverview}}},
		{"/api/nodes", verbs{get: {monitoring, "", listNodes}}},
		{"/api/nodes/{node}", verbs{get: {monitoring, "", getNode}}},
		{"/api/nodes/{node}/memory", verbs{get: {monitoring, "", getNodeMemory}}},
		{"/api/nodes/{node}/memory/relative", verbs{get: {monitoring, "", getRelativeMemory}}},
		{"/api/whoami", verbs{get: {management, "", whoami}}},
		{"/api/maintenance", verbs{
			get: {monitoring, "", getMaintenance}, put: {administrator, "begin maintenance", putMaintenance},
			del: {administrator, "end maintenance", deleteMaintenance},
		}},
		{"/api/config/reload", verbs{post: {administrator, "reload configuration", reloadConfig}}},
		{"/api/auth/hash_password", verbs{post: {administrator, "", hashPassword}}},
		{"/api/health/checks/alarms", verbs{get: {management, "", checkAlarms}}},
		{"/api/health/checks/local-alarms", verbs{get: {management, "", checkLocalAlarms}}},
		{"/api/health/checks/port-listener/{port}", verbs{get: {management, "", checkPort}}},
		{"/api/health/checks/protocol-listener/{protocol}", verbs{get: {management, "", checkProtocol}}},
		{"/api/health/checks/virtual-hosts", verbs{get: {management, "", checkServing}}},
		{"/api/health/checks/certificate-expiration/{within}/{unit}", verbs{get: {management, "", checkCertificates}}},
		{"/api/health/checks/node-is-quorum-critical", verbs{get: {management, "", checkCritical}}},
		{"/api/health/checks/node-is-mirror-sync-critical", verbs{get: {management, "", checkCritical}}},
		{"/api/health/checks/is-in-service", verbs{get: {management, "", checkServing}}},
		{"/api/health/checks/ready-to-serve-clients", verbs{get: {management, "", checkServing}}},
		{"/api/healthchecks/node", verbs{get: {management, "", checkNode}}},
		{"/api/healthchecks/node/{node}", verbs{get: {management, "", checkNode}}},
		{"/api/aliveness-test/{vhost}", verbs{get: {management, "", checkAliveness}}},
		{"/api/cluster-name", verbs{get: {management, "", getClusterName}, put: {administrator, "set cluster name", putClusterName}}},
		{"/api/extensions", verbs{get: {management, "", listExtensions}}},
		{"/api/auth", verbs{get: {anyone, "", getAuth}}},
		{"/api/auth/attempts/{node}", verbs{get: {monitoring, "", listAttempts}}},
		{"/api/auth/attempts/{node}/source", verbs{get: {monitoring, "", listAttemptsBySource}}},
		{"/api/rebalance/queues", verbs{post: {administrator, "", rebalance}}},

		{"/api/vhosts", verbs{get: {management, "", listVHosts}}},
		{"/api/vhosts/{vhost}", verbs{
			get: {administrator, "", getVHost}, put: {administrator, "put vhost", putVHost}, del: {administrator, "delete vhost", deleteVHost},
		}},
		{"/api/vhosts/{vhost}/permissions", verbs{get: {administrator, "", listPermissions}}},
		{"/api/vhosts/{vhost}/topic-permissions", verbs{get: {administrator, "", listTopicPermissions}}},
		{"/api/vhosts/{vhost}/connections", verbs{get: {management, "", listConnectionsOfVHost}}},
		{"/api/vhosts/{vhost}/channels", verbs{get: {management, "", listChannelsOfVHost}}},
		{"/api/vhost-limits", verbs{get: {management, "", listVHostLimits}}},
		{"/api/vhost-limits/{vhost}", verbs{get: {management, "", getVHostLimits}}},
		{"/api/vhost-limits/{vhost}/{limit}", verbs{
			put: {administrator, "set limit", putVHostLimit}, del: {administrator, "clear limit", deleteVHostLimit},
		}},

		{"/api/users", verbs{get: {administrator, "", listUsers}}},
		{"/api/users/without-permissions", verbs{get: {administrator, "", listUsersWithoutPermissions}}},
		{"/api/users/bulk-delete", verbs{post: {administrator, "delete users", deleteUsers}}},
		{"/api/users/{user}", verbs{
			get: {administrator, "", getUser}, put: {administrator, "put user", putUser}, del: {administrator, "delete user", deleteUser},
		}},
		{"/api/users/{user}/permissions", verbs{get: {administrator, "", listPermissions}}},
		{"/api/users/{user}/topic-permissions", verbs{get: {administrator, "", listTopicPermissions}}},
		{"/api/user-limits", verbs{get: {management, "", listUserLimits}}},
		{"/api/user-limits/{user}", verbs{get: {management, "", getUserLimits}}},
		{"/api/user-limits/{user}/{limit}", verbs{
			put: {administrator, "set limit", putUserLimit}, del: {administrator, "clear limit", deleteUserLimit},
		}},

		{"/api/permissions", verbs{get: {administrator, "", listPermissions}}},
		{"/api/permissions/{vhost}/{user}", verbs{
			get: {administrator, "", getPermission}, put: {administrator, "set permission", putPermission},
			del: {administrator, "clear permission", deletePermission},
		}},
		{"/api/topic-permissions", verbs{get: {administrator, "", listTopicPermissions}}},
		{"/api/topic-permissions/{vhost}/{user}", verbs{
			get: {administrator, "", getTopicPermissions}, put: {administrator, "set topic permission", putTopicPermission},
			del: {administrator, "clear topic permission", deleteTopicPermission},
		}},
		{"/api/topic-permissions/{vhost}/{user}/{exchange}", verbs{
			del: {administrator, "clear topic permission", deleteTopicPermission},
		}},

		{"/api/policies", verbs{get: {management, "", policies.list}}},
		{"/api/policies/{vhost}", verbs{get: {management, "", policies.listOfVHost}}},
		{"/api/policies/{vhost}/{policy}", verbs{
			get: {management, "", policies.get}, put: {management, "set policy", policies.put}, del: {management, "clear policy", policies.clear},
		}},
		{"/api/operator-policies", verbs{get: {management, "", operator.list}}},
		{"/api/operator-policies/{vhost}", verbs{get: {management, "", operator.listOfVHost}}},
		{"/api/operator-policies/{vhost}/{policy}", verbs{
			get: {administrator, "", operator.get}, put: {administrator, "set operator policy", operator.put},
			del: {administrator, "clear operator policy", operator.clear},
		}},

		{"/api/definitions", verbs{
			get: {administrator, "", exportDefinitions}, post: {administrator, "import definitions", importDefinitions},
		}},
		{"/api/definitions/{vhost}", verbs{
			get: {administrator, "", exportDefinitions}, post: {administrator, "import definitions", importDefinitions},
		}},

		{"/api/parameters", verbs{get: {management, "", listParameters}}},
		{"/api/parameters/{component}", verbs{get: {management, "", listParameters}}},
		{"/api/parameters/{component}/{vhost}", verbs{get: {management, "", listParameters}}},
		{"/api/parameters/{component}/{vhost}/{parameter}", verbs{
			get: {management, "", getParameter}, put: {management, "set parameter", putParameter}, del: {management, "clear parameter", deleteParameter},
		}},
		{"/api/global-parameters", verbs{get: {management, "", listGlobalParameters}}},
		{"/api/global-parameters/{parameter}", verbs{
			get: {management, "", getGlobalParameter}, put: {management, "set global parameter", putGlobalParameter},
			del: {management, "clear global parameter", deleteGlobalParameter},
		}},

		{"/api/feature-flags", verbs{get: {administrator, "", listFeatureFlags}}},
		{"/api/feature-flags/{flag}/enable", verbs{put: {administrator, "", enableFeatureFlag}}},
		{"/api/deprecated-features", verbs{get: {administrator, "", listDeprecatedFeatures}}},
		{"/api/deprecated-features/used", verbs{get: {administrator, "", listDeprecatedFeatures}}},

		{"/api/queues", verbs{get: {management, "", listQueues}}},
		{"/api/queues/{vhost}", verbs{get: {management, "", listQueuesOfVHost}}},
		{"/api/queues/{vhost}/{queue}", verbs{
			get: {management, "", getQueue}, put: {management, "put queue", putQueue}, del: {management, "delete queue", deleteQueue},
		}},
		{"/api/queues/{vhost}/{queue}/contents", verbs{del: {management, "purge queue", purgeQueue}}},
		{"/api/queues/{vhost}/{queue}/actions", verbs{post: {administrator, "act on queue", actOnQueue}}},
		{"/api/queues/{vhost}/{queue}/bindings", verbs{get: {management, "", listBindingsOfQueue}}},
		{"/api/exchanges", verbs{get: {management, "", listExchanges}}},
		{"/api/exchanges/{vhost}", verbs{get: {management, "", listExchangesOfVHost}}},
		{"/api/exchanges/{vhost}/{exchange}", verbs{
			get: {management, "", getExchange}, put: {management, "put exchange", putExchange}, del: {management, "delete exchange", deleteExchange},
		}},
		{"/api/exchanges/{vhost}/{exchange}/publish", verbs{post: {management, "publish message", publish}}},
		{"/api/exchanges/{vhost}/{exchange}/bindings/source", verbs{get: {management, "", listBindingsFrom}}},
		{"/api/exchanges/{vhost}/{exchange}/bindings/destination", verbs{get: {management, "", listBindingsTo}}},
		{"/api/bindings", verbs{get: {management, "", listBindings}}},
		{"/api/bindings/{vhost}", verbs{get: {management, "", listBindingsOfVHost}}},
		{"/api/bindings/{vhost}/e/{exchange}/q/{queue}", verbs{
			get: {management, "", listBindingsBetween}, post: {management, "put binding", postBinding},
		}},
		{"/api/bindings/{vhost}/e/{exchange}/q/{queue}/{props}", verbs{
			get: {management, "", getBinding}, del: {management, "delete binding", deleteBinding},
		}},
		{"/api/bindings/{vhost}/e/{exchange}/e/{destination}", verbs{
			get: {management, "", listBindingsBetween}, post: {management, "put binding", postBinding},
		}},
		{"/api/bindings/{vhost}/e/{exchange}/e/{destination}/{props}", verbs{
			get: {management, "", getBinding}, del: {management, "delete binding", deleteBinding},
		}},
		{"/api/consumers", verbs{get: {management, "", listConsumers}}},
		{"/api/consumers/{vhost}", verbs{get: {management, "", listConsumersOfVHost}}},
		{"/api/channels", verbs{get: {management, "", listChannels}}},
		{"/api/channels/{channel}", verbs{get: {management, "", getChannel}}},

		{"/api/exchanges/{vhost}/{exchange}/delayed", verbs{get: {management, "", listDelayed}}},
		{"/api/exchanges/{vhost}/{exchange}/delayed/{id}", verbs{del: {management, "cancel delayed message", cancelDelayed}}},

		{"/api/queues/{vhost}/{queue}/get", verbs{post: {management, "get messages", getMessages}}},
		{"/api/queues/{vhost}/{queue}/messages", verbs{get: {management, "", browse}}},
		{"/api/queues/{vhost}/{queue}/messages/{position}", verbs{del: {management, "delete message", deleteMessage}}},
		{"/api/queues/{vhost}/{queue}/move", verbs{post: {management, "move messages", moveMessages}}},
		{"/api/queues/{vhost}/{queue}/redrive", verbs{post: {management, "redrive messages", redrive}}},

		{"/api/connections", verbs{get: {management, "", listConnections}}},
		{"/api/connections/username/{user}", verbs{
			get: {management, "", listConnectionsOfUser}, del: {management, "close connections", closeConnectionsOfUser},
		}},
		{"/api/connections/{connection}", verbs{
			get: {management, "", getConnection}, del: {management, "close connection", closeConnection},
		}},

		{"/api/connections/{connection}/channels", verbs{get: {management, "", listChannelsOfConnection}}},

		{"/api/sessions", verbs{get: {management, "", listSessions}}},
		{"/api/sessions/{vhost}", verbs{get: {management, "", listSessionsOfVHost}}},
		{"/api/sessions/{vhost}/{client}", verbs{get: {management, "", getSession}}},

		{"/why", verbs{get: {management, "", why}}},
		{"/alarms", verbs{get: {monitoring, "", getAlarms}, put: {administrator, "set alarm", putAlarms}}},
	}
	all := make([]route, len(table))
	for i, t := range table {
		all[i] = route{elements: strings.Split(t.path[1:], "/"), verbs: t.verbs, maxBody: maxBody}
		if strings.HasPrefix(t.path, "/api/definitions") {
			all[i].maxBody = maxDefinitions
		}
	}
	return all
}

// find returns the route of an escaped path, and the names in it. An escaped
// slash is part of a name: "%2F" is the default vhost. One at the end says
// nothing, as in RabbitMQ: clients ask for "/api/connections/".
func (a *API) find(path string) (*route, map[string]string, error) {
	elements := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	for i := range a.routes {
		names, ok, err := a.routes[i].match(elements)
		if err != nil {
			return nil, nil, badRequest("the path is not escaped as a path has to be")
		}
		if ok {
			return &a.routes[i], names, nil
		}
	}
	return nil, nil, noObject()
}

func (r *route) match(elements []string) (names map[string]string, ok bool, err error) {
	if len(elements) != len(r.elements) {
		return nil, false, nil
	}
	names = map[string]string{}
	for i, want := range r.elements {
		name, isName := strings.CutPrefix(want, "{")
		switch {
		case !isName && want != elements[i]:
			return nil, false, nil
		case !isName:
			continue
		}
		if names[strings.TrimSuffix(name, "}")], err = url.PathUnescape(elements[i]); err != nil {
			return nil, false, err
		}
	}
	return names, true, nil
}

// methods are what the Allow header says.
func (r *route) methods() string {
	var list []string
	for m := range r.verbs {
		list = append(list, m)
		if m == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(append(list, http.MethodOptions), ", ")
}
