package jsontable

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/batonmq/baton/core/field"
)

func TestObjectsComeBackAsTheyWere(t *testing.T) {
	for _, text := range []string{
		`{}`,
		`{"a":9007199254740993,"b":-1,"c":2.25,"c1":1.0,"c2":-3.0,"c3":1.5e3,"c4":1e300,"d":true,"e":null,"f":"x<y>","g":[1,"a",[],{"k":false}],"h":{"k":{"l":1}}}`,
	} {
		var got Table
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		var v any = got
		back, err := json.Marshal(v)
		var plain Table
		if err != nil || json.Unmarshal(back, &plain) != nil || !field.Equal(field.Table(plain), field.Table(got)) {
			t.Errorf("%s came back as %s, %v", text, back, err)
		}
		if _, err := field.AppendTable(nil, field.Table(got)); err != nil {
			t.Errorf("%s is no table: %v", text, err)
		}
	}
	for _, text := range []string{`[]`, `"a"`, `1`} {
		if err := json.Unmarshal([]byte(text), new(Table)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestValuesThatJSONDoesNotHave(t *testing.T) {
	got, err := json.Marshal(Object(field.Table{
		{Key: "bytes", Value: []byte("raw")},
		{Key: "time", Value: field.Timestamp(7)},
		{Key: "decimal", Value: field.Decimal{Scale: 2, Value: 150}},
		{Key: "nan", Value: math.NaN()},
		{Key: "narrow", Value: float32(0.5)},
		{Key: "twice", Value: int8(1)},
		{Key: "twice", Value: int8(2)},
	}))
	if want := `{"bytes":"raw","decimal":1.5,"nan":null,"narrow":0.5,"time":7,"twice":2}`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}
