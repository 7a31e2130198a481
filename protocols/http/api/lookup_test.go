package api

import (
	"encoding/json"
	"strings"
	"testing"
)

type inner struct {
	Deep int `json:"deep"`
	Same int `json:"same"`
}

type outer struct {
	inner

	Same  string         `json:"same"`
	Gone  *inner         `json:"gone"`
	Part  *inner         `json:"part,omitempty"`
	Empty string         `json:"empty,omitempty"`
	Map   map[string]any `json:"map"`
	Own   ownNames       `json:"own"`
	Not   int            `json:"-"`
	Small uint8          `json:"small"`
}

// ownNames makes its JSON itself.
type ownNames int

func (ownNames) MarshalJSON() ([]byte, error) { return []byte(`{"a":{"b":7}}`), nil }

// What is found in an answer is what its JSON has there.
func TestAnswersAreLookedIntoByTheirNamesInJSON(t *testing.T) {
	answer := &outer{inner: inner{1, 2}, Same: "s", Part: &inner{Deep: 3}, Map: map[string]any{"k": []int{4}}, Small: 5}
	for path, want := range map[string]string{
		"deep": `1`, "same": `"s"`, "gone": `null`, "gone.deep": `null`, "part.deep": `3`, "part": `{"deep":3,"same":0}`, "empty": `null`,
		"map.k": `[4]`, "map.nope": `null`, "own.a.b": `7`, "own": `{"a":{"b":7}}`, "Not": `null`, "-": `null`, "small": `5`, "small.x": `null`, "nope": `null`,
	} {
		got, err := json.Marshal(at(answer, strings.Split(path, ".")))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
	for columns, want := range map[string]string{
		"deep,part.deep,gone": `{"deep":1,"part":{"deep":3}}`, "part,part.deep": `{"part":{"deep":3,"same":0}}`,
		"part.deep,part.same": `{"part":{"deep":3,"same":0}}`, "": `{}`,
	} {
		got, err := json.Marshal(pick(answer, splitPaths(columns)))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", columns, got, err, want)
		}
	}
}

func TestSortKeysOrderNumbersBeforeTexts(t *testing.T) {
	ordered := []any{nil, -1.5, uint8(2), json.Number("3"), 10, "10", "9"}
	for i, a := range ordered {
		for j, b := range ordered {
			x, y := keyOf(a), keyOf(b)
			if got := x.compare(&y); got != min(1, max(-1, i-j)) {
				t.Errorf("%v and %v: %d", a, b, got)
			}
		}
	}
}
