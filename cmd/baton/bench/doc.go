// Package bench is the load generator behind `baton bench`: it drives a broker
// over its public protocols and says what a message, or an idle connection, costs there. `baton bench store`
// measures the store alone, in its own process: see package storebench.
//
// # What it guarantees
//
//   - It measures a broker, not itself: the raw client writes messages that were
//     encoded before the clock started and counts deliveries without decoding
//     them, and every row states the generator's own CPU per message beside the
//     broker's, so that a row in which the generator was the bottleneck shows it.
//   - Every load is bounded: in time (Options.Duration after a warm-up), in
//     messages (Options.MaxMessages) and in what may be under way at once (the
//     scenario's confirm window and backlog).
//   - It cleans up: queues, topics and MQTT sessions have names that nobody else
//     uses, and are removed when a run ends, also when it fails or is interrupted.
//     A generator that is killed leaves its queue or its persistent sessions behind,
//     under names that start with `baton-bench-`.
//   - Figures that could not be measured are absent (a dash in the table, null in
//     JSON) and the report says why.
//
// # What it does not
//
//   - It checks no delivery guarantee: message bodies are all alike.
//   - It does not isolate: generator and broker usually share the machine's cores,
//     so that figures compare only between brokers measured on the same machine,
//     alternating. CPU per message depends on the machine less than rates do, not
//     too little to matter: other load changes how much a broker does at once, in
//     either direction. The report states that load and marks the rows it disturbed.
//
// # Vocabulary
//
// A scenario is a load's shape, a row is a scenario with one message size. A run
// is one execution of a row; with several runs a row reports the median of each
// figure by itself. CPU per message is the user and system time of the whole
// broker process (all its threads) divided by the messages that went through: for
// rows with a consumer by the messages delivered, which the bounded backlog keeps
// equal to those published; for the latency row by the messages confirmed. Peak
// RSS is the largest resident set seen while the row ran, sampled.
//
// Over MQTT a message counts when it is delivered, so that a fan-out to 200 counts
// 200 times.
// A broker may drop messages of QoS 0; they are not counted as delivered, and the
// report tells how many they were.
//
// # Who owns what
//
// A run owns a producer, a consumer (two connections, a channel each) and the flow
// between them. The producer's goroutine alone writes messages; a goroutine reads
// the confirms and one the deliveries; they meet only in flow, under its mutex,
// once per batch. A third connection, the control, declares and deletes the queue.
// Over MQTT there are as many consumers as subscribers, each with its goroutine, and
// no control; the goroutine that reads the publisher's answers also writes PUBREL.
package bench
