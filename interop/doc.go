// Package interop drives the real binary, as a process on loopback, with the
// clients that applications use.
//
// # What it guarantees
//
// A test that passes here has seen the behaviour from outside: through a socket, a
// signal, an exit code or a log line. Nothing of Baton is imported. Every broker
// that a test starts is a process of its own in a directory of its own, on ports
// that were free, and is ended by its process id when the test ends; its log is
// kept among the test's artifacts (go test -artifacts) and shown when the broker
// does not start.
//
// # What it does not
//
// A kill -9 leaves what the operating system holds in its cache, so that these
// tests prove order and completeness of what was promised, not that it was synced;
// the crash tests of the persistence packages do that.
//
// # Vocabulary
//
// A life is the time between two starts of a broker on one directory. A History is
// what clients observed over several lives, in order; History.Check says whether a
// broker that keeps its promises could have caused it. An acknowledgement has
// passed when an answer that was promised after it came back (see consumer.mark).
//
// A Stream is the same for a publisher and consumers that follow the primary of a
// cluster, brokers on one directory, from node to node; Stream.Check knows the fences
// of epochs. A promise is late when its client got it after its epoch's fence was
// marked, and a zombie's when it is late and lost.
//
// # Fail-over
//
// TestFailover has faults happen to a cluster under load and checks what its clients
// have seen. Alone it takes each fault once, in less than a minute and a half.
// -failover.runs=N -failover.ttl=500ms -failover.seed=S takes N runs through all
// combinations of fault and load, and logs a table of what they have shown; each run
// logs the flags that repeat it, as far as the machine allows. -failover.starts=200
// starts brokers at the same instant more often.
//
// Other tests have faults that need more than signals, or time: -failover.net cuts
// networks and -enospc fills and freezes a disk, both as root; -sharedfs.netns cuts a host
// from its storage; -failover.clock has a successor whose wall clock is wrong;
// -failover.storm=10000 has as many clients come back at once; -failover.behind=2m keeps a
// standby from reading. -failover.gap=N measures what a client sees of N takeovers of each
// kind and prints a table.
//
// # Deployment
//
// TestDeploy runs the command lines, environments and health checks of the files below
// docs/deploy, as they stand there, under a supervisor that does what systemd or a container
// platform would do. TestUnshared has two brokers that share nothing and clients that choose.
//
// # Attacks
//
// TestAttack has a process of its own carry out what a client may do that means harm, on a
// broker with little memory, while honest clients of both protocols go on beside it. Alone
// each takes a second or two and shows that nobody honest is disconnected and nothing is
// lost. -attack takes them one after the other in full size and logs a table with the
// latency of the honest: on a machine that has nothing else to do, as it is compared with
// that of the same clients a moment before. -attack.time says for how long.
// TestStormUntilDiskAlarm needs -enospc.
//
// # The suites of clients
//
// -amqp091.suite runs the integration tests that amqp091-go has for RabbitMQ, all of them, on
// the ports that they know, in a network namespace, as root. clients/run.sh has clients in other
// languages carry out what they can, as far as they are installed.
//
// # Conversations
//
// TestConversations says to the broker, frame by frame and with a codec of its own, what
// the files below testdata/rabbitmq say, and compares the answers with those that were
// recorded from RabbitMQ. docs/rabbitmq-differences.md has the reasons for answers that
// differ, and how to record.
//
// # Environment
//
// BATON_INTEROP_URL=amqp://… points the tests that neither end a broker nor look
// into it at one that runs already, also at another make; those that must own the
// process are skipped then. BATON_INTEROP_MQTT=mqtt://… and BATON_INTEROP_WS=ws://…
// do the same for the tests that speak MQTT alone. BATON_INTEROP_BINARY=path starts
// a binary that was built before. BATON_INTEROP_SEED=N repeats the moments at which a
// test kills, as far as the machine allows. RABBITMQ_URL=amqp://… has TestConversations
// record what that broker answers.
package interop
