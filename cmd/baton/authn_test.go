package main

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
)

// countingAuth lets nobody in, and counts who was asked about.
type countingAuth struct{ asked int }

func (a *countingAuth) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	a.asked++
	return auth.Principal{}, auth.ErrRefused
}

func (*countingAuth) Offers(auth.Credentials) []string { return []string{"OTHER"} }

func TestAddressThatHasFailedTooOftenIsRefusedUnasked(t *testing.T) {
	rate, err := listen.NewRate(listen.RateOptions{FailuresPerSecond: 1e-6, FailureBurst: 2})
	if err != nil {
		t.Fatal(err)
	}
	inner := new(countingAuth)
	r := &rated{inner, rate, new(core.Broker)}
	c := auth.Credentials{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
	for range 5 {
		if _, err := r.Authenticate(t.Context(), c); !errors.Is(err, auth.ErrRefused) {
			t.Errorf("login: %v", err)
		}
		rate.RecordFailure(c.RemoteAddr)
	}
	if inner.asked != 2 {
		t.Errorf("%d passwords were looked at, want 2", inner.asked)
	}
	if offers := auth.Offers(r, c); len(offers) != 1 || offers[0] != "OTHER" {
		t.Errorf("offers %q", offers)
	}
}
