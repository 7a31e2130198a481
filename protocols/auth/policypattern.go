package auth

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// PolicyPatterns returns what makes the patterns of policies ready: they are read
// as those of permissions are, but the empty one is found in every name.
//
// A policy is tried on all names of a virtual host at once. So a pattern whose
// match has taken too long once is not tried again, until it is set anew: it
// matches nothing, and the log tells.
func PolicyPatterns(log *slog.Logger) func(pattern string) (matches func(name string) bool, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return func(pattern string) (func(string) bool, error) {
		if len(pattern) > maxPattern {
			return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrPattern, len(pattern), maxPattern)
		}
		if pattern == "" {
			return func(string) bool { return true }, nil
		}
		c, err := compile(pattern)
		if err != nil {
			return nil, err
		}
		var slow atomic.Bool
		return func(name string) bool {
			if slow.Load() {
				return false
			}
			found, err := c.matches(name)
			if err != nil && !slow.Swap(true) {
				log.Error("a policy's pattern took too long: it applies to nothing until it is set anew",
					slog.String("pattern", pattern), slog.Any("err", err))
			}
			return found && err == nil
		}, nil
	}
}
