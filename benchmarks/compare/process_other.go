//go:build !linux

package main

import "syscall"

// together puts a child into a group of its own, which is ended as one.
func together() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
