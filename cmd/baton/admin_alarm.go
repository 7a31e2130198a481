package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func alarmCommand(f *adminFlags) *cobra.Command {
	cmd := f.verbCommand("alarm", "Show why publishers wait, if they do", cobra.NoArgs, showAlarms)
	set := f.verbCommand("set-memory SIZE|default", "Set the memory watermark until the broker ends", cobra.ExactArgs(1), setMemory)
	set.Long = set.Short + ".\n" +
		"Publishers wait while more memory is in use. 0 lets them wait at once, which shows whether clients can;\n" +
		"default is what is configured."
	cmd.AddCommand(set)
	return cmd
}

// adminAlarms are the alarms, and what they are about.
type adminAlarms struct {
	Memory struct {
		Alarm     bool  `json:"alarm"`
		Used      int64 `json:"used"`
		Watermark int64 `json:"watermark"`
		Limit     int64 `json:"limit"` // 0: not known
	} `json:"memory"`
	Disk struct {
		Alarm     bool  `json:"alarm"`
		Free      int64 `json:"free"`
		Watermark int64 `json:"watermark"`
	} `json:"disk"`
}

func showAlarms(b *broker, _ []string) error {
	var a adminAlarms
	if err := b.get("/alarms", &a); err != nil {
		return err
	}
	t := newTable("RESOURCE", "ALARM", "NOW", "WATERMARK")
	t.row("memory", onOff(a.Memory.Alarm), roughSize(a.Memory.Used)+" used", "above "+roughSize(a.Memory.Watermark))
	t.row("disk", onOff(a.Disk.Alarm), roughSize(a.Disk.Free)+" free", "below "+roughSize(a.Disk.Watermark))
	return b.print(a, t)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// roughSize is a size as a person reads it.
func roughSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && u.bytes > 1 {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.suffix)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func setMemory(b *broker, args []string) error {
	var watermark *int64
	if args[0] != "default" {
		n, ok := parseSize(args[0])
		if !ok {
			return &exitError{exitUsage, fmt.Errorf("%q is neither default nor a size like 4096, 64KiB, 512MiB or 2GiB", args[0])}
		}
		watermark = &n
	}
	if err := b.put("/alarms", map[string]any{"memory": map[string]any{"watermark": watermark}}); err != nil {
		return err
	}
	return b.say("the memory watermark is %s", args[0])
}
