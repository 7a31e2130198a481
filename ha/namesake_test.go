package ha_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

func TestStandby_ALivingNamesakeIsRefused(t *testing.T) {
	for _, locks := range []bool{true, false} {
		for _, role := range []string{"standby", "primary"} {
			t.Run(fmt.Sprintf("of the %s, locks %v", role, locks), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := hatest.New()
					disk.NoLocks = !locks
					a := newBroker(disk).start(t, ha.Options{Node: "same", Standby: true}, nil)
					a.serves(t)
					living := a
					if role == "standby" {
						if err := a.stop(t); err != nil {
							t.Fatal(err)
						}
						a = newBroker(disk).start(t, ha.Options{Node: "other", Standby: true}, nil)
						a.serves(t)
						living = newBroker(disk).start(t, ha.Options{Node: "same", Standby: true}, nil)
						time.Sleep(time.Minute)
					}
					double := newBroker(disk).start(t, ha.Options{Node: "same", Standby: true}, nil)
					if err := <-double.done; !errors.Is(err, ha.ErrNamesake) || !strings.Contains(err.Error(), `"same"`) {
						t.Errorf("Run returned %v, want ErrNamesake", err)
					}
					time.Sleep(time.Minute)
					select {
					case err := <-living.done:
						t.Errorf("the living one ended with %v", err)
					default:
					}
					// Once it is dead its name is free.
					living.files.Kill()
					again := newBroker(disk).start(t, ha.Options{Node: "same", Standby: true}, nil)
					time.Sleep(time.Minute)
					if living != a {
						if err := a.stop(t); err != nil {
							t.Fatal(err)
						}
					}
					again.serves(t)
					if err := again.stop(t); err != nil {
						t.Fatal(err)
					}
					living.cancel()
					if err := <-living.done; err == nil {
						t.Error("a killed node ended in order")
					}
				})
			})
		}
	}
}

// TestStandby_NamesakesWithoutLocksStartTogether: one of them gives up.
func TestStandby_NamesakesWithoutLocksStartTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		disk.NoLocks = true
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		x := newBroker(disk).start(t, ha.Options{Node: "same", Standby: true}, nil)
		y := newBroker(disk).start(t, ha.Options{Node: "same", Standby: true}, nil)
		time.Sleep(time.Minute)
		ended := 0
		for _, b := range []*broker{x, y} {
			select {
			case err := <-b.done:
				ended++
				if !errors.Is(err, ha.ErrNamesake) {
					t.Errorf("ended with %v", err)
				}
			default:
				if err := b.stop(t); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		}
		if ended != 1 {
			t.Errorf("%d of two namesakes ended", ended)
		}
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}
