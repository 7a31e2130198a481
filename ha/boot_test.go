package ha

import (
	"testing"
	"time"
)

func TestBootReading(t *testing.T) {
	here, elsewhere := [16]byte{1}, [16]byte{2}
	for _, tt := range []struct {
		name        string
		now, before bootReading
		want        time.Duration
		ok          bool
	}{
		{"one boot", bootReading{here, 9 * time.Second}, bootReading{here, 2 * time.Second}, 7 * time.Second, true},
		{"another boot", bootReading{here, 9 * time.Second}, bootReading{elsewhere, 2 * time.Second}, 0, false},
		{"no clock", bootReading{at: 9 * time.Second}, bootReading{at: 2 * time.Second}, 0, false},
		{"a clock that went back", bootReading{here, 2 * time.Second}, bootReading{here, 9 * time.Second}, 0, false},
	} {
		if got, ok := tt.now.since(tt.before); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %v, %t, want %v, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}
