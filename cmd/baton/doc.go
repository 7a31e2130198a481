// Command baton is the broker: one binary that serves, and that asks a running
// broker how it is or administrates it.
//
// This package wires. It is the only one that knows every other, and it decides
// nothing about messages: it reads the configuration, opens the data directory,
// lets package ha say when this node is the primary, and puts store, engine and
// front-ends together for as long as it is.
//
// It guarantees:
//
//   - Every end of the process has a documented exit code (exit.go) and one
//     sentence on stderr.
//
//   - "Server startup complete" is logged once clients can connect, and not
//     before.
//
//   - After SIGTERM: no further connection, goodbyes, everything promised on
//     stable storage, the lease released, exit 0. Clients that do not leave within
//     the stop timeout are cut, and the exit code is 1. A second signal ends the
//     process at once with 1. Neither loses anything that was promised.
//
//   - When the lease is lost or the store fails, sockets are cut without a word:
//     a goodbye could not be trusted.
//
//   - A store that has never had a user gets its first one before clients get in.
//
//   - Publishers wait while the process uses more memory than its watermark
//     allows, garbage not counted (memory.go). When a rush is over, what it has
//     left behind in memory goes back to the system within seconds (lull.go).
//
//   - With --ha: a standby opens no client port, follows the primary's journal,
//     and says in /readyz and metrics why it could not take over, if so. What its
//     configuration file says just before a takeover is in force after it. A
//     primary that is asked to hand over stops in order and stands by again.
//
//   - Under a service manager with systemd's protocol it says when it serves or
//     stands by, and gives signs of life that a stuck broker does not give
//     (supervisor.go).
//
//   - Called as rabbitmqctl or rabbitmq-diagnostics, through a link, it understands
//     of these what test suites and health checks want (rabbitmq.go).
//
// It does not guarantee to notice a changed configuration file by itself: it is
// read at the start, at a reload (SIGHUP, baton config reload), which applies what liveSettings has alone, and on standbys.
// Certificates are: they are read again when their files change, and at SIGHUP.
//
// # Configuration
//
// Each setting is one row of the table in settings.go: its key in the file, its
// flag, default, unit and meaning. Its environment variable follows from the key
// by one rule. docs/configuration.md is written from the table by go generate,
// and a test keeps the two equal. Later sources win: default, file, environment,
// flag.
//
// # Who owns what
//
// main owns the signals. program.run is everything else, without globals, so that
// tests run it in process. serve's call tree owns every goroutine of the broker and ends
// them in the reverse order of their start.
package main

//go:generate go test -run ^TestConfigurationPageIsCurrent$ . -rewrite
