package main

import "syscall"

// together puts a child into a group of its own, which is ended as one, and has
// the kernel end it with us.
func together() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
