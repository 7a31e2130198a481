package api

import (
	"cmp"
	"net/http"
	"strings"
)

// An Absence is why a node does not serve, and who does.
type Absence struct {
	Reason    string   // for an operator
	Role      string   // this node's
	Primary   string   // the node that serves; empty: not known
	Addresses []string // where that one is reached, as URLs
}

// primaryHeader has the addresses of the API on the node that serves, or those of
// its clients if the API's are not known.
const primaryHeader = "Baton-Primary"

// elsewhere is the part of a problem that says where to ask instead.
type elsewhere struct {
	Primary   string   `json:"primary,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

// ownState are the paths that a node which does not serve answers: they are about
// the node itself. It cannot know who asks, since users are the primary's; so it
// tells no more than /readyz and the metrics of its address tell anybody.
var ownState = map[string]func(*call) (any, error){
	"/api/overview":                     overviewOfStandby,
	"/api/nodes":                        listNodes,
	"/api/nodes/{node}":                 getNode,
	"/api/nodes/{node}/memory":          getNodeMemory,
	"/api/nodes/{node}/memory/relative": getRelativeMemory,
	"/api/healthchecks/node":            checkNode,
	"/api/healthchecks/node/{node}":     checkNode,

	"/api/health/checks/alarms":                                 checkAlarms,
	"/api/health/checks/local-alarms":                           checkLocalAlarms,
	"/api/health/checks/port-listener/{port}":                   checkPort,
	"/api/health/checks/protocol-listener/{protocol}":           checkProtocol,
	"/api/health/checks/virtual-hosts":                          checkServing,
	"/api/health/checks/certificate-expiration/{within}/{unit}": checkCertificates,
	"/api/health/checks/node-is-quorum-critical":                checkCritical,
	"/api/health/checks/node-is-mirror-sync-critical":           checkCritical,
	"/api/health/checks/is-in-service":                          checkServing,
	"/api/health/checks/ready-to-serve-clients":                 checkServing,
}

// absent answers where this node does not serve.
func (c *call) absent() (any, error) {
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		if route, names, err := c.api.find(c.r.URL.EscapedPath()); err == nil {
			if answer, ok := ownState["/"+strings.Join(route.elements, "/")]; ok {
				c.names = names
				return c.tell(answer)
			}
		}
	}
	a := c.api.opt.Absent()
	if h := a.header(); h != "" {
		c.w.Header().Set(primaryHeader, h)
	}
	p := unavailable(a.Reason)
	return verdict{p.Status, struct {
		*problem
		elsewhere
	}{p, elsewhere{a.Primary, a.Addresses}}}, nil
}

// header is the value of primaryHeader.
func (a *Absence) header() string {
	var web []string
	for _, addr := range a.Addresses {
		if strings.HasPrefix(addr, "http://") || strings.HasPrefix(addr, "https://") {
			web = append(web, addr)
		}
	}
	return cmp.Or(strings.Join(web, ", "), strings.Join(a.Addresses, ", "))
}

// overviewOfStandby is the part of the overview that is about the node.
func overviewOfStandby(c *call) (any, error) {
	a := c.api.opt.Absent()
	o := c.api.overview(c.api.opt.Version)
	o.Node = c.api.opt.Node
	o.listen(c.listeners())
	return struct {
		*overview
		elsewhere

		Role   string `json:"role"`
		Reason string `json:"reason"`
	}{o, elsewhere{a.Primary, a.Addresses}, a.Role, a.Reason}, nil
}

// listeners are the open addresses, of whatever role the node is in.
func (c *call) listeners() []Listener {
	var all []Listener
	if c.api.opt.Listeners != nil {
		all = c.api.opt.Listeners()
	}
	if c.primary != nil {
		all = append(all, c.primary.Listeners...)
	}
	return all
}
