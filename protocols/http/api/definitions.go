package api

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/batonmq/baton/protocols/http/definitions"
)

// exportDefinitions returns those of the broker, or of a vhost. With download in the
// query a browser stores the answer under that name.
func exportDefinitions(c *call) (any, error) {
	if name := c.r.URL.Query().Get("download"); name != "" {
		c.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	}
	from := definitions.Origin{Compatible: cmp.Or(c.primary.Compatible, c.api.opt.Version), Version: c.api.opt.Version}
	vhost, one := c.names["vhost"]
	if !one {
		return definitions.Export(c.primary.Broker, from), nil
	}
	if !c.primary.Broker.HasVHost(vhost) {
		return nil, badRequest("vhost_not_found") // and not 404, as in RabbitMQ
	}
	return definitions.ExportVHost(c.primary.Broker, vhost, from), nil
}

// importDefinitions makes what the body says: a document, or a form that a browser sends
// with a document in its field file and perhaps a place to go on to in redirect.
func importDefinitions(c *call) (any, error) {
	vhost := c.names["vhost"]
	if vhost != "" && !c.primary.Broker.HasVHost(vhost) {
		return nil, notFound("vhost_not_found")
	}
	text, next, err := c.uploaded()
	if err != nil {
		return nil, err
	}
	d, err := definitions.Parse(text)
	if err != nil {
		return nil, badRequest("%s", err)
	}
	report, err := definitions.Import(c.r.Context(), c.primary.Broker, d, definitions.Options{VHost: vhost})
	if e, ok := errors.AsType[*definitions.Error](err); ok {
		return nil, badRequest("%s", e)
	}
	if err != nil {
		return nil, err
	}
	c.note(slog.Int("changed", report.Changed))
	if n := len(report.Notes) + report.More; n > 0 {
		c.note(slog.Int("passed_over", n))
		c.note(slog.Any("notes", report.Notes))
	}
	if next == "" {
		return done, nil
	}
	c.w.Header().Set("Location", next)
	return verdict{status: http.StatusSeeOther}, nil
}

// uploaded returns the document of the body, and of a form where to go on.
func (c *call) uploaded() (text []byte, next string, err error) {
	kind, params, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")) // of what is not understood it is no form
	if kind != "multipart/form-data" {
		return c.body, "", nil
	}
	parts := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, "", badRequest("the form could not be read")
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, "", badRequest("the form could not be read")
		}
		switch part.FormName() {
		case "file":
			text = content
		case "redirect":
			next = ownPath(string(content))
		}
	}
	if text == nil {
		return nil, "", missing("file")
	}
	return text, next, nil
}

// ownPath is where, a path of this server's; empty if it is not.
func ownPath(where string) string {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "" || u.Host != "" || strings.ContainsAny(where, "\\\r\n") {
		return ""
	}
	return where
}
