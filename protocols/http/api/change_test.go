package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
)

// put makes a change over a connection that proves an administrator.
func put(ctx context.Context, a *API, path string) *httptest.ResponseRecorder {
	ctx = WithPrincipal(ctx, auth.Principal{Name: "root via socket", Tags: []string{"administrator"}})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPut, path, http.NoBody))
	return w
}

// While the disk does not answer, a change is answered in time and not with a
// promise, and those behind it are not made.
func TestChanges_DiskDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{Manual: true})
		broker, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		a, err := New(Options{Primary: func() *Primary { return &Primary{Broker: broker} }, Absent: func() Absence { return Absence{Reason: ""} }})
		if err != nil {
			t.Fatal(err)
		}
		var first, second *httptest.ResponseRecorder
		var asked sync.WaitGroup
		asked.Go(func() { first = put(t.Context(), a, "/api/vhosts/one") })
		synctest.Wait()
		begin := time.Now()
		asked.Go(func() { second = put(t.Context(), a, "/api/vhosts/two") })
		asked.Wait()
		if took := time.Since(begin); took != changeTimeout {
			t.Errorf("they were answered after %v", took)
		}
		if first.Code != 503 || !strings.Contains(first.Body.String(), "may still be made") {
			t.Errorf("the first: %d %s", first.Code, first.Body)
		}
		// The second may have had its turn in the last moment; then it waited for the disk like the first.
		if second.Code != 503 {
			t.Errorf("the second: %d %s", second.Code, second.Body)
		}

		// A client that leaves gives its turn up.
		ctx, cancel := context.WithCancel(t.Context())
		asked.Go(func() { put(ctx, a, "/api/vhosts/three") })
		synctest.Wait()
		cancel()
		asked.Wait()
		asked.Go(func() { first = put(t.Context(), a, "/api/vhosts/four") })
		synctest.Wait()
		store.Flush()
		asked.Wait()
		if first.Code != 201 {
			t.Errorf("when the disk answers again: %d %s", first.Code, first.Body)
		}

		// A store that has failed makes no promise, and the client is not told its inner life.
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if w := put(t.Context(), a, "/api/vhosts/five"); w.Code != 503 || strings.Contains(w.Body.String(), "memory store") {
			t.Errorf("after the store is closed: %d %s", w.Code, w.Body)
		}
	})
}

// What two administrators change of one user at a time is changed both.
func TestChanges_NoneIsLost(t *testing.T) {
	f := newFixture(t)
	for round := 1; round <= 20; round++ {
		var both sync.WaitGroup
		for _, limit := range []string{"max-connections", "max-channels"} {
			both.Go(func() {
				f.as(t, "adm", http.MethodPut, "/api/user-limits/mgt/"+limit, fmt.Sprintf(`{"value":%d}`, round))
			})
		}
		both.Wait()
		if u, _ := f.broker.Access().User("mgt"); u.MaxConnections != round || u.MaxChannels != round {
			t.Fatalf("round %d left %d and %d", round, u.MaxConnections, u.MaxChannels)
		}
	}
}
