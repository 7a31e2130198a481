// Package admin is the broker's HTTP side: health for supervisors, metrics for
// Prometheus, profiles for whoever debugs it. It runs on every node, also on
// one that is dark to messaging clients.
//
//	GET /livez         200 while the process lives; also /isLive
//	GET /readyz        200 on the active primary whose store answers, else 503; JSON {role, epoch, reason, standby}; also /isReady
//	GET /metrics       Prometheus text; with the next two the only paths of a metrics-only address
//	GET /metrics/per-object  the same, of each queue, connection and channel
//	GET /metrics/detailed?family=…&vhost=…  what is named, of each
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
// dashboards work; Baton's own are named baton_…. The values of /metrics are sums
// over the broker, some of them for each protocol.
//
// What is told of each object has RabbitMQ's labels and prefixes: rabbitmq_ in
// /metrics/per-object, which has it in place of the sums of that name, and
// rabbitmq_detailed_ or rabbitmq_cluster_ in /metrics/detailed. A connection and
// a channel are named as in the management API. It goes out while it is read: a
// scrape holds no lock but that of one queue while its numbers are copied, and
// takes memory only for the names and numbers of connections. Two may be under
// way at a time.
//
// # Who owns what
//
// The [Server] owns its sockets, and a few goroutines for them that it waits for
// in Close. [Health] is written by whoever runs the broker and read here.
package admin
