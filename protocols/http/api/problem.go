package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/batonmq/baton/core"
)

// A problem is an answer other than 2xx, in RabbitMQ's form.
type problem struct {
	Status int    `json:"-"`
	Code   string `json:"error"`
	Reason string `json:"reason"`
}

func (p *problem) Error() string { return p.Code + ": " + p.Reason }

// noObject is what RabbitMQ says of everything that does not exist.
func noObject() *problem { return &problem{http.StatusNotFound, "Object Not Found", "Not Found"} }

func notFound(reason string) *problem { return &problem{http.StatusNotFound, "not_found", reason} }

func badRequest(format string, args ...any) *problem {
	return &problem{http.StatusBadRequest, "bad_request", fmt.Sprintf(format, args...)}
}

func missing(key string) *problem { return badRequest("key_missing: %s", key) }

// notAuthorised is for those who are known and may not. The two spellings are
// RabbitMQ's, and clients tell them apart.
func notAuthorised(reason string) *problem {
	return &problem{http.StatusUnauthorized, "not_authorised", reason}
}

func notAuthorized() *problem {
	return &problem{http.StatusUnauthorized, "not_authorized", "Login failed"}
}

func unavailable(reason string) *problem {
	return &problem{http.StatusServiceUnavailable, "service_unavailable", reason}
}

// problem says what the client is told of an error. What it is not told is
// logged.
func (c *call) problem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return unavailable("the change waits for the disk and may still be made: look, or ask again")
	}
	switch core.KindOf(err) {
	case core.NotFound:
		return notFound(sentence(err))
	case core.Invalid, core.TooLarge, core.Inequivalent, core.InUse:
		return badRequest("%s", sentence(err))
	case core.Exhausted, core.Closing:
		return unavailable(sentence(err))
	default:
		c.api.opt.Log.Error("admin request failed", slog.String("path", c.r.URL.Path), slog.Any("err", err))
		return unavailable("the broker could not do this; its log says why")
	}
}

// sentence is what an engine's error tells a client.
func sentence(err error) string {
	e, ok := errors.AsType[*core.Error](err)
	switch {
	case !ok:
		return "it could not be done"
	case e.Text != "":
		return e.Text
	}
	return e.Name + ": " + e.Kind.String()
}
