//go:build !linux

package process

import (
	"syscall"
	"time"
)

// together puts a child into a group of its own, which is ended as one.
func together() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// cpuOf is not known here.
func cpuOf(int) time.Duration { return 0 }
