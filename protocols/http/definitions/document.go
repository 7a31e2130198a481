package definitions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/batonmq/baton/protocols/http/jsontable"
)

// A Document is what definitions say. Of one that is of a single vhost the lists of
// what belongs to no vhost are nil, and are not written.
type Document struct {
	RabbitVersion   string `json:"rabbit_version,omitempty"`
	RabbitMQVersion string `json:"rabbitmq_version,omitempty"`
	ProductName     string `json:"product_name,omitempty"`
	ProductVersion  string `json:"product_version,omitempty"`
	Format          string `json:"rabbitmq_definition_format,omitempty"`
	OriginalVHost   string `json:"original_vhost_name,omitempty"`

	Users            []User            `json:"users,omitzero"`
	VHosts           []VHost           `json:"vhosts,omitzero"`
	Permissions      []Permission      `json:"permissions,omitzero"`
	TopicPermissions []TopicPermission `json:"topic_permissions,omitzero"`
	Parameters       []Parameter       `json:"parameters"`
	GlobalParameters []GlobalParameter `json:"global_parameters,omitzero"`
	Policies         []Policy          `json:"policies"`
	OperatorPolicies []Policy          `json:"operator_policies,omitzero"` // read only: they are written as parameters
	Queues           []Queue           `json:"queues"`
	Exchanges        []Exchange        `json:"exchanges"`
	Bindings         []Binding         `json:"bindings"`
}

// User is a user with its hash. SCRAM is Baton's own: what a login with SCRAM needs.
type User struct {
	Name         string  `json:"name"`
	PasswordHash *string `json:"password_hash,omitempty"`
	Algorithm    string  `json:"hashing_algorithm,omitempty"`
	SCRAM        string  `json:"scram_sha_256,omitempty"`
	Password     string  `json:"password,omitempty"` // read only
	Tags         *tags   `json:"tags"`
	Limits       limits  `json:"limits"`
}

// VHost is what is known of a vhost. What is not in a document stays as it was.
type VHost struct {
	Name        string         `json:"name"`
	Description *string        `json:"description,omitempty"`
	Tags        *tags          `json:"tags,omitempty"`
	QueueType   *string        `json:"default_queue_type,omitempty"`
	Metadata    *vhostMetadata `json:"metadata,omitempty"`
	Limits      limits         `json:"limits,omitempty"` // read only: they are written as parameters
}

type vhostMetadata struct {
	Description *string `json:"description,omitempty"`
	Tags        *tags   `json:"tags,omitempty"`
	QueueType   *string `json:"default_queue_type,omitempty"`
}

// Permission is what a user may do in a vhost.
type Permission struct {
	User      string `json:"user"`
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// TopicPermission narrows a user's use of a topic exchange.
type TopicPermission struct {
	User     string `json:"user"`
	VHost    string `json:"vhost"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// Policy is a policy.
type Policy struct {
	VHost string `json:"vhost"`
	Name  string `json:"name"`
	policyValue
}

// Queue is a queue.
type Queue struct {
	Name       string          `json:"name"`
	VHost      string          `json:"vhost,omitempty"`
	Durable    *bool           `json:"durable"`
	AutoDelete bool            `json:"auto_delete"`
	Arguments  jsontable.Table `json:"arguments"`
}

// Exchange is an exchange.
type Exchange struct {
	Name       string          `json:"name"`
	VHost      string          `json:"vhost,omitempty"`
	Type       string          `json:"type"`
	Durable    *bool           `json:"durable"`
	AutoDelete bool            `json:"auto_delete"`
	Internal   bool            `json:"internal"`
	Arguments  jsontable.Table `json:"arguments"`
}

// Binding is a binding of a queue or an exchange to an exchange.
type Binding struct {
	Source      string          `json:"source"`
	VHost       string          `json:"vhost,omitempty"`
	Destination string          `json:"destination"`
	DestType    string          `json:"destination_type"`
	RoutingKey  string          `json:"routing_key"`
	Arguments   jsontable.Table `json:"arguments"`
}

// tags are a list of texts or, as once in RabbitMQ, one text with commas.
type tags []string

// UnmarshalJSON reads both forms.
func (t *tags) UnmarshalJSON(b []byte) error {
	var texts []string
	if bytes.HasPrefix(b, []byte(`"`)) {
		var all string
		if err := json.Unmarshal(b, &all); err != nil {
			return err //nolint:wrapcheck // the JSON has been found valid
		}
		texts = strings.Split(all, ",")
	} else if err := json.Unmarshal(b, &texts); err != nil || texts == nil {
		return errors.New("tags should be a list of strings, or a string with commas")
	}
	*t = tags{}
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" && !slices.Contains(*t, text) {
			*t = append(*t, text)
		}
	}
	return nil
}

// limits are numbers by name. Where there are none, some versions of RabbitMQ write an
// empty list.
type limits map[string]int

// UnmarshalJSON reads both.
func (l *limits) UnmarshalJSON(b []byte) error {
	var none []struct{}
	if json.Unmarshal(b, &none) == nil && len(none) == 0 {
		*l = limits{}
		return nil
	}
	if json.Unmarshal(b, (*map[string]int)(l)) != nil {
		return errors.New("limits should be an object of whole numbers")
	}
	return nil
}

// maxProblems is how many problems an error tells.
const maxProblems = 10

// An Error says what keeps definitions from being imported: nothing of them was.
type Error struct {
	Problems []string // at most maxProblems, each naming its object
	More     int      // that are not told
}

// Error implements error.
func (e *Error) Error() string {
	text := strings.Join(e.Problems, "; ")
	if e.More > 0 {
		text += fmt.Sprintf("; and %d more", e.More)
	}
	return text
}

func (e *Error) add(format string, args ...any) {
	if len(e.Problems) == maxProblems {
		e.More++
		return
	}
	e.Problems = append(e.Problems, fmt.Sprintf(format, args...))
}

// err is e if it has problems.
func (e *Error) err() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}

// Parse reads a document. An empty one says nothing, as in RabbitMQ.
func Parse(text []byte) (*Document, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return new(Document), nil
	}
	var lists map[string]json.RawMessage
	if err := json.Unmarshal(text, &lists); err != nil || lists == nil {
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("it is not JSON: line %d: %w", 1+bytes.Count(text[:min(int(e.Offset), len(text))], []byte("\n")), err)
		}
		return nil, errors.New("it is not a JSON object")
	}
	d, e := new(Document), new(Error)
	read(e, lists, "users", &d.Users)
	read(e, lists, "vhosts", &d.VHosts)
	read(e, lists, "permissions", &d.Permissions)
	read(e, lists, "topic_permissions", &d.TopicPermissions)
	read(e, lists, "parameters", &d.Parameters)
	read(e, lists, "global_parameters", &d.GlobalParameters)
	read(e, lists, "policies", &d.Policies)
	read(e, lists, "operator_policies", &d.OperatorPolicies)
	read(e, lists, "queues", &d.Queues)
	read(e, lists, "exchanges", &d.Exchanges)
	read(e, lists, "bindings", &d.Bindings)
	return d, e.err()
}

// read reads one list, and says of an item that cannot be read which one it is.
func read[T any](e *Error, lists map[string]json.RawMessage, name string, to *[]T) {
	text, ok := lists[name]
	if !ok {
		return
	}
	var items []json.RawMessage
	if json.Unmarshal(text, &items) != nil {
		e.add("%s should be a list", name)
		return
	}
	*to = make([]T, len(items))
	for i, item := range items {
		err := json.Unmarshal(item, &(*to)[i])
		if err == nil {
			continue
		}
		why := err.Error()
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			why = fmt.Sprintf("%s should not be a %s", strings.ToLower(t.Field), t.Value)
			if t.Field == "" {
				why = "it should be an object"
			}
		}
		var named struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal(item, &named) // what cannot be read has no name
		e.add("%s[%d]%s: %s", name, i, quotedName(named.Name), why)
	}
}

func quotedName(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" '%s'", name)
}
