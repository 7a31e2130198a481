package main

import (
	"testing"
	"testing/fstest"
)

func TestFindMemory_TakesTheLeastThatHolds(t *testing.T) {
	const meminfo = "MemTotal:        2000000 kB\nMemFree:         1000000 kB\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
		from  string
	}{
		{"nothing is known", nil, 0, ""},
		{"no control groups", map[string]string{"proc/meminfo": meminfo}, 2000000 << 10, "machine"},
		{"version 2", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/baton.service\n",
			"sys/fs/cgroup/system.slice/baton.service/memory.max": "536870912\n", "sys/fs/cgroup/system.slice/memory.max": "max\n",
		}, 512 << 20, "control group"},
		{"version 2, a group above is smaller", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "536870912\n", "sys/fs/cgroup/a/memory.max": "268435456\n",
		}, 256 << 20, "control group"},
		{"version 2, in a container", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../outside\n", "sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20, "control group"},
		{"version 2, no limit", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n",
		}, 2000000 << 10, "machine"},
		{"version 1", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "12:cpu,cpuacct:/x\n7:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "134217728\n",
		}, 128 << 20, "control group"},
		{"version 1, in a container", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "7:memory:/docker/abc\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
		}, 128 << 20, "control group"},
		{"version 1, no limit", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "7:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 2000000 << 10, "machine"},
		{"larger than the machine", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "4294967296\n",
		}, 2000000 << 10, "machine"},
		{"what makes no sense", map[string]string{
			"proc/meminfo": "MemTotal: much\n", "proc/self/cgroup": "0::\nx\n1:2\n", "sys/fs/cgroup/memory.max": "-1\n",
		}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got, from := findMemory(root); got != tt.want || from != tt.from {
				t.Errorf("%d from %q, want %d from %q", got, from, tt.want, tt.from)
			}
		})
	}
}

func TestHostMemory_IsKnownHere(t *testing.T) {
	if n, from := hostMemory(); n < 1<<20 || from == "" {
		t.Errorf("%d from %q", n, from)
	}
	if n, ok := residentMemory(); !ok || n < 1<<20 {
		t.Errorf("%d resident, %t", n, ok)
	}
}
