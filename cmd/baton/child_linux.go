package main

import "syscall"

// childAttributes give the child a process group of its own: a terminal's Ctrl-C
// reaches this process alone, which passes it on once.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
