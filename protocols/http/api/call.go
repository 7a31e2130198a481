package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

const (
	// maxBody bounds what a request may send, and maxDefinitions what one with
	// definitions may: a hundred thousand queues take about 20 MB.
	maxBody        = 1 << 20
	maxDefinitions = 32 << 20

	// changeTimeout bounds the wait for one's turn and for the disk: less than
	// the server waits for an answer to be written.
	changeTimeout = 20 * time.Second
)

// A call is one request.
type call struct {
	api     *API
	w       http.ResponseWriter
	r       *http.Request
	names   map[string]string
	query   url.Values
	windows windows
	primary *Primary
	actor   auth.Principal
	body    []byte      // of a change
	maxBody int64       // of this route
	audit   []slog.Attr // what there is to say of a change beside its object
}

// outcome is the status of an answer that has no body.
type outcome int

// The outcomes.
const (
	created outcome = http.StatusCreated
	done    outcome = http.StatusNoContent
)

func createdOrDone(isNew bool) outcome {
	if isNew {
		return created
	}
	return done
}

// verdict is an answer with a status of its own.
type verdict struct {
	status int
	body   any
}

// access is what most verbs work with.
func (c *call) access() *core.Access { return c.primary.Broker.Access() }

// serve does what is asked. The order is RabbitMQ's: the path, the method, who
// asks, what they may, and then the object.
func (c *call) serve() (any, error) {
	c.primary = c.api.opt.Primary()
	route, names, err := c.api.find(c.r.URL.EscapedPath())
	if c.primary == nil && (err != nil || !route.own() || !isProven(c.r.Context())) {
		return c.absent()
	}
	if err != nil {
		return nil, err
	}
	c.names, c.maxBody = names, route.maxBody
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	verb, ok := route.verbs[method]
	if !ok {
		c.w.Header().Set("Allow", route.methods())
		if method == http.MethodOptions {
			return verdict{status: http.StatusOK}, nil
		}
		return nil, &problem{http.StatusMethodNotAllowed, "method_not_allowed", method + " is not possible here"}
	}
	if verb.may != anyone {
		if err := c.login(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), changeTimeout)
	defer cancel()
	c.r = c.r.WithContext(core.WithActor(ctx, c.actor.Name))
	if verb.does == "" && method == http.MethodGet {
		return c.look(&verb)
	}
	return c.change(&verb)
}

func (c *call) look(v *verb) (any, error) {
	if err := c.mayBe(v.may); err != nil {
		return nil, err
	}
	return c.tell(v.run)
}

// tell answers by what is known, in the windows and the shape that the query asks for.
func (c *call) tell(run func(*call) (any, error)) (_ any, err error) {
	if c.windows, err = windowsOf(c.query); err != nil {
		return nil, err
	}
	result, err := run(c)
	if err != nil {
		return nil, err
	}
	return c.shape(result)
}

// change runs a verb that changes something, and says in the log what came of it.
func (c *call) change(v *verb) (result any, err error) {
	defer func() {
		if err != nil {
			err = c.problem(err)
		}
		c.logChange(v, result, err)
	}()
	if err := c.api.origin.Check(c.r); err != nil {
		return nil, &problem{http.StatusForbidden, "forbidden", "this request comes from another site"}
	}
	if err := c.mayBe(v.may); err != nil {
		return nil, err
	}
	if err := c.writable(); err != nil {
		return nil, err
	}
	if err := c.readBody(); err != nil { // before its turn: who sends slowly holds up nobody
		return nil, err
	}
	select {
	case c.api.turn <- struct{}{}:
		defer func() { <-c.api.turn }()
	case <-c.r.Context().Done():
		return nil, unavailable("other changes wait for the disk; nothing was changed")
	}
	return v.run(c)
}

// writable refuses to make what JSON cannot name: no list and no export would tell what
// it is called. Clients can make such queues, and here they can be deleted.
func (c *call) writable() error {
	if c.r.Method != http.MethodPut {
		return nil
	}
	for kind, name := range c.names {
		if !utf8.ValidString(name) {
			return badRequest("the name of the %s is not UTF-8", kind)
		}
	}
	return nil
}

// AuditMessage is the message of the one log line that each administrative change has.
const AuditMessage = "administration"

func (c *call) logChange(v *verb, result any, err error) {
	if v.does == "" {
		return
	}
	level, said := slog.LevelInfo, "done"
	switch {
	case err != nil:
		level, said = slog.LevelWarn, err.Error()
	case result == created:
		said = "created"
	}
	c.api.opt.Log.LogAttrs(c.r.Context(), level, AuditMessage, append([]slog.Attr{
		slog.String("actor", c.actor.Name), slog.String("peer", c.peer().String()),
		slog.String("action", v.does), slog.String("object", c.object()), slog.String("result", said),
	}, c.audit...)...)
}

// object is what the path names.
func (c *call) object() string {
	var parts []string
	for _, kind := range []string{"id", "position", "limit", "policy", "parameter", "component", "props", "destination", "queue", "exchange", "connection", "user", "vhost"} {
		if name, ok := c.names[kind]; ok {
			parts = append(parts, fmt.Sprintf("%s '%s'", kind, name))
		}
	}
	return strings.Join(parts, ", ")
}

// note adds to the log line of the change.
func (c *call) note(a slog.Attr) { c.audit = append(c.audit, a) }

// readBody takes what the request sends.
func (c *call) readBody() error {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return badRequest("the body is larger than %d bytes", c.maxBody)
		}
		return badRequest("the body could not be read")
	}
	c.body = bytes.TrimSpace(body)
	return nil
}

// decode reads the body into v. No body is an object without keys.
func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	if c.body[0] != '{' || !json.Valid(c.body) {
		return badRequest("not_json")
	}
	err := json.Unmarshal(c.body, v)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return badRequest("%s should be a %s, actually was a %s", e.Field, typeName(e.Type.Kind().String()), e.Value)
	}
	if err != nil {
		return badRequest("%s", err)
	}
	return nil
}

// typeName is JSON's name of a type.
func typeName(kind string) string {
	switch kind {
	case "string", "struct", "map":
		return strings.NewReplacer("struct", "object", "map", "object").Replace(kind)
	case "bool":
		return "boolean"
	case "slice":
		return "list"
	}
	return "number"
}

// reply writes the answer.
func (c *call) reply(result any, err error) {
	header := c.w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
	status := http.StatusOK
	if err != nil {
		p := c.problem(err)
		status, result = p.Status, p
	}
	switch r := result.(type) {
	case outcome:
		c.w.WriteHeader(int(r))
		return
	case verdict:
		status, result = r.status, r.body
	}
	if result == nil {
		c.w.WriteHeader(status)
		return
	}
	if r, ok := result.(*rows); ok {
		header.Set("Content-Type", "application/json")
		c.write(r)
		return
	}
	body, err := encode(result)
	if err != nil {
		c.api.opt.Log.Error("cannot encode an answer", slog.String("path", c.r.URL.Path), slog.Any("err", err))
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal_error","reason":"the answer could not be encoded"}`)
	}
	header.Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // a peer that went away needs no answer
}

// write writes a list row by row. One that cannot be put together ends with its
// connection, so that nobody takes it for all there is.
func (c *call) write(r *rows) {
	to := bufio.NewWriterSize(c.w, 32<<10)
	_ = to.WriteByte('[') // what cannot be written Flush tells of
	first := true
	err := r.each(c, func(row any) error {
		b, err := encode(row)
		if err != nil {
			return err
		}
		if !first {
			_ = to.WriteByte(',')
		}
		first = false
		_, err = to.Write(b)
		return err //nolint:wrapcheck // see below
	})
	_ = to.WriteByte(']')
	if err == nil {
		_ = to.Flush() // a peer that went away needs no answer
		return
	}
	if c.r.Context().Err() == nil {
		c.api.opt.Log.Warn("a list could not be written", slog.String("path", c.r.URL.Path), slog.Any("err", err))
	}
	panic(http.ErrAbortHandler)
}

// encode leaves "->" in names of connections as it is: nobody shows this as HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
