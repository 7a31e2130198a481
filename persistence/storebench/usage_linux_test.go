package storebench

import "testing"

// TestDeviceBytes: the line of /proc/diskstats is found by the device's number, also a large one, and sectors have 512 bytes.
func TestDeviceBytes(t *testing.T) {
	const text = `   7       0 loop0 63 1 2120 11 3202 4706 602942 2508 0 2148 3956 0 0 0 0 2084 1436
 254       0 vda 1 2 3 4 5 6 100 8 9 10 11
 259  1048576 nvme0n1p1 1 2 3 4 5 6 7 8 9 10 11
 short 1
`
	for _, tt := range []struct {
		name string
		dev  uint64
		want int64 // 0: not known
	}{
		{"the first", 7 << 8, 602942 * 512},
		{"the next", 254 << 8, 100 * 512},
		{"a minor above 255", 259<<8 | 1048576<<12, 7 * 512},
		{"no device", 33, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switch got := deviceBytes(text, tt.dev); {
			case tt.want == 0 && got != nil:
				t.Errorf("%d, want none", *got)
			case tt.want != 0 && (got == nil || *got != tt.want):
				t.Errorf("%v, want %d", got, tt.want)
			}
		})
	}
}

func TestProcessBytes(t *testing.T) {
	if got := processBytes("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n"); got == nil || *got != 4096 {
		t.Errorf("%v, want 4096", got)
	}
	if got := processBytes("rchar: 1\n"); got != nil {
		t.Errorf("%d, want none", *got)
	}
}
