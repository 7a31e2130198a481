// Package failpoint names the moments at which a broker is most worth killing, and, in a binary built with the tag failpoint, has it die
// there.
//
// # What it guarantees
//
//   - Without the tag nothing of it is left in a binary: [At] is nil, and the branch behind it goes with it.
//   - With the tag, a point acts when it is reached for the time that was asked for, once, on the goroutine that reached it, and after
//     it has said so on standard error. When it kills or stops the process, that goroutine does nothing further before.
//   - A variable that is malformed or names no point ends the process with exit code 2 as soon as any point is reached: a typing error must not
//     make a test of nothing.
//
// # What it does not
//
// Other goroutines go on until the signal reaches them: one point says where one of them is, and not where all are.
//
// # How it is told
//
// BATON_FAILPOINT is a list of POINT=ACTION[@N] with ";" between. N is for which time of reaching the point it acts; the first unless given.
//
//	kill            the process ends by SIGKILL
//	stop            it stops by SIGSTOP, and goes on with SIGCONT (linux alone)
//	sleep DURATION  the goroutine waits
//	error           what goes on at the point fails
//
// For example: journal.written=stop@300;lease.renewing=sleep 2s@10
package failpoint
