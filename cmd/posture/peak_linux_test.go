//go:build aws

package main

import (
	"fmt"
	"os"
	"syscall"
)

// peak says how much memory a process had resident at most.
func peak(s *os.ProcessState) string {
	if usage, ok := s.SysUsage().(*syscall.Rusage); ok {
		return fmt.Sprintf("%d MB resident at most", usage.Maxrss>>10)
	}
	return "memory unknown"
}
