// Package admin is the broker's HTTP side: health for supervisors, metrics for
// Prometheus, profiles for whoever debugs it. It runs on every node, also on
// one that is dark to messaging clients.
//
//	GET /livez         200 while the process lives
//	GET /readyz        200 on the active primary whose store answers, else 503; JSON {role, epoch, reason, standby}
//	GET /metrics       Prometheus text; the only path of a metrics-only address
//	GET /debug/pprof/  loopback peers only, else 403
//	/api/…, /alarms    the management API: package api
//
// It guarantees:
//   - /livez waits for no lock of the broker: it answers as long as the process
//     schedules goroutines, so a broker that is busy is not restarted for it.
//   - /readyz says 200 only after cmd has said that this node serves, and stops
//     saying so before the first client is told to leave.
//   - No request can hold a connection for ever: handshakes, headers, bodies,
//     answers and idle connections have deadlines. Connections are bounded, on
//     each kind of address and, with the front-ends', all together.
//   - The admin socket is for the user of the process and for root, by the mode of
//     the file and, where the system tells, by who is at the other end. It is made
//     in a directory that nobody else can write to, and takes the place of a file
//     only if nobody answers there.
//
// It does not guarantee secrecy of health and metrics: whoever reaches an address
// reads them. A proxy on the same machine makes every peer a loopback peer.
//
// # Metrics
//
// A value that means what RabbitMQ's means has RabbitMQ's name, so that existing
// dashboards work; Baton's own are named baton_…. Values are sums over the
// broker, without labels.
//
// # Who owns what
//
// The [Server] owns its sockets, and a few goroutines for them that it waits for
// in Close. [Health] is written by whoever runs the broker and read here.
package admin
