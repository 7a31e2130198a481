// Package definitions is what RabbitMQ calls definitions: all of a broker that
// administrators and applications have declared, and no message, as one JSON document.
//
// # Vocabulary
//
// A component is who a parameter is for: "shovel" or "federation-upstream" in RabbitMQ.
// Parameters of components that are unknown here are kept as they are, and have no
// effect.
package definitions
