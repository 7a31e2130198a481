package storetest

import (
	"testing"

	"github.com/batonmq/baton/core"
)

// Harness is the place of one store, empty at first: a directory, or memory.
type Harness interface {
	// Open opens the store on what the last one left. The last one has ended.
	Open(tb testing.TB) core.Store
	// Crash ends s, without Close, as the end of its process would: no Completion runs any more once Crash has returned. What had not
	// passed may be lost, from the end of the order of commits. s may have been closed or broken before.
	Crash(tb testing.TB, s core.Store)
	// Break makes whatever s is to pass from now on fail, for good, with an error that wraps the one returned.
	Break(tb testing.TB, s core.Store) error
}

// Run runs the suite. Every test gets a Harness of its own from harness.
func Run(t *testing.T, harness func(tb testing.TB) Harness) {
	t.Helper()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			k := &kit{T: t, h: harness(t)}
			k.open()
			t.Cleanup(k.end)
			c.run(k)
		})
	}
	t.Run("Model", func(t *testing.T) { runModel(t, harness) })
}

type testCase struct {
	name string
	run  func(k *kit)
}

func cases() []testCase {
	return []testCase{
		// Recover
		{"NewStoreIsEmpty", newStoreIsEmpty},
		{"DefinitionsInTheOrderTheyWereMade", definitionsInOrder},
		{"DefineReplacesAndRemoveEnds", defineReplacesAndRemoveEnds},
		{"QueueTellsWhatItHolds", queueTellsWhatItHolds},
		{"PlacesAreNeverUsedTwice", placesAreNeverUsedTwice},
		{"RecoverMayBeLeftEarly", recoverMayBeLeftEarly},
		{"ThousandsOfQueues", thousandsOfQueues},
		{"KeyedQueueTellsItsKeys", keyedQueueTellsItsKeys},
		// Commit
		{"CompletionsInTheOrderOfCommits", completionsInOrder},
		{"CompletionsInOrderAcrossGoroutines", completionsAcrossGoroutines},
		{"EveryKindCompletesWithItsTag", everyKindCompletes},
		{"CompletionMeansItSurvives", completionMeansItSurvives},
		{"UnitsAreAtomic", unitsAreAtomic},
		{"SlicesAreCopied", slicesAreCopied},
		{"SharedMessage", sharedMessage},
		{"MessageComesBackAsItWas", messageComesBackAsItWas},
		{"MessageIsMarkedStored", messageIsMarkedStored},
		{"BigBodies", bigBodies},
		{"PendingCountsWhatHasNotPassed", pendingCounts},
		// Settle and mark
		{"SettleEndsEntries", settleEndsEntries},
		{"SettleBeforePassing", settleBeforePassing},
		{"SettleIsIdempotent", settleIsIdempotent},
		{"MarksCountDeliveries", marksCountDeliveries},
		{"UncleanEndCountsAsDelivered", uncleanEndCountsAsDelivered},
		{"RemovedQueueEndsItsEntries", removedQueueEndsItsEntries},
		// Load
		{"LoadKeepsItsBounds", loadKeepsItsBounds},
		{"DeepQueue", deepQueue},
		{"LoadWhileCommitting", loadWhileCommitting},
		// Life
		{"CloseKeepsWhatWasCommitted", closeKeepsWhatWasCommitted},
		{"CloseAgain", closeAgain},
		{"ErrorSticks", errorSticks},
		{"ClockNeverStepsBack", clockNeverStepsBack},
		{"ManyLives", manyLives},
	}
}
