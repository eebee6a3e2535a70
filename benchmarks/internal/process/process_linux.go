package process

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// together puts a child into a group of its own, which is ended as one, and has
// the kernel end it with us.
func together() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// cpuOf reads the CPU clock of a process, which counts nanoseconds where
// /proc/PID/stat counts hundredths of a second. It is zero for a process that is
// gone.
func cpuOf(pid int) time.Duration {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel's posix-timers.h.
	clock := int32(^pid<<3 | 2)
	var at unix.Timespec
	if err := unix.ClockGettime(clock, &at); err != nil {
		return 0
	}
	return time.Duration(at.Nano())
}
