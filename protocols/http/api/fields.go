package api

import (
	"errors"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/http/jsontable"
)

// object is a table as a JSON object. Of equal keys the last one counts.
func object(t field.Table) map[string]any { return jsontable.Object(t) }

// A definition is a JSON object as a table. Whole numbers stay what they are.
type definition field.Table

// UnmarshalJSON implements json.Unmarshaler.
func (d *definition) UnmarshalJSON(text []byte) error {
	if (*jsontable.Table)(d).UnmarshalJSON(text) != nil {
		return errors.New("definition should be an object")
	}
	return nil
}
