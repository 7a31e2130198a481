// Package history remembers how numbers were: samples of counters and gauges,
// rates between them, and what was a while ago. It knows nothing of brokers: who
// uses it says what there is to sample, and when.
//
// It guarantees:
//   - A bound on memory, whatever is sampled. An object whose numbers stay as they
//     are takes nothing; one whose numbers have just changed takes its last two
//     samples; and a [Class] keeps the histories of [MaxHistories] objects, those that
//     were asked for last.
//   - A reader waits for one object to be noted at most, not for a whole sample.
//   - What is gone is forgotten with the next sample.
//
// It does not guarantee:
//   - the past of objects that nobody asks for. Theirs begins when somebody does,
//     unless there was room.
//   - exact times: a sample is what was found nearest to a time.
//
// # Cost
//
// A sample costs as much as there are objects that have changed since the last one,
// and histories: who samples a [Class] knows which have. It holds 370 bytes for each
// that has, of 12 numbers, until the next one. A history of 12 numbers is 20 kB, so all of a class are 5 MB at most.
//
// # Vocabulary
//
// A sample is the numbers of an object at one time, in an order that the class
// has. A [Series] is a history: samples close together of the last minutes, and
// further apart of the time before. A [Window] is what part of it somebody wants
// to see; a [Detail] is one number seen so.
//
// # Who owns what
//
// Nothing here has a goroutine. A Series belongs to one caller at a time; a Class
// may be used by all, and is sampled by one.
package history
