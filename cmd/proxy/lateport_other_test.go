//go:build !linux

package main

import "syscall"

// latePort changes nothing: bind(2) chooses the port.
func latePort(_, _ string, _ syscall.RawConn) error { return nil }
