//go:build torture

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rotate moves the file of records away and says so by SIGHUP, or waits to be
// noticed.
func (n *nemesis) rotate(signal bool) error {
	if err := n.world.sink.rotate(); err != nil {
		return err
	}
	if signal {
		n.now.signal(syscall.SIGHUP)
	}
	// What is written until the program has noticed goes to the file that was
	// moved, which must be whole before it is moved on.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(n.world.sink.path()); err == nil {
			return nil
		}
	}
	return nil
}

// rotateAndKill kills the process while it opens the new file.
func (n *nemesis) rotateAndKill(ctx context.Context) error {
	if err := n.world.sink.rotate(); err != nil {
		return err
	}
	n.now.signal(syscall.SIGHUP)
	sleep(ctx, n.between(0, 8))
	return n.kill(ctx, 1)
}

// fillDisk takes the room that records need. A process that is ended meanwhile
// is started again when there is room.
func (n *nemesis) fillDisk(ctx context.Context, meanwhile func() error) error {
	over := n.world.timeline.begin(faultSink)
	defer func() { over(2500 * time.Millisecond) }()
	free, err := n.world.sink.fill()
	if err != nil {
		return err
	}
	sleep(ctx, n.between(200, 1500))
	if meanwhile != nil {
		down := n.world.timeline.begin(faultDown)
		defer func() { down(300 * time.Millisecond) }()
		err = meanwhile()
		sleep(ctx, n.between(100, 500))
	}
	free()
	if err == nil && (n.now.killed || n.now.unrecorded) {
		err = n.begin(ctx)
	}
	return err
}

// drainUnrecorded ends the process by SIGTERM while it cannot say so.
func (n *nemesis) drainUnrecorded(context.Context) error {
	term := n.world.timeline.begin(faultTerm)
	defer term(0)
	n.now.unrecorded = true
	n.now.signal(syscall.SIGTERM)
	if _, err := n.now.wait(drainTime + 15*time.Second); err != nil {
		n.ended = append(n.ended, fmt.Sprintf("after SIGTERM, the disk full: %v", err))
	}
	return nil
}

// noDescriptors lets the process open no more descriptors for a while.
func (n *nemesis) noDescriptors(ctx context.Context) error {
	over := n.world.timeline.begin(faultFull)
	defer func() { over(2500 * time.Millisecond) }()
	pid := n.now.cmd.Process.Pid
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		return err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return err
	}
	low := was
	low.Cur = uint64(len(open) + n.r.IntN(6))
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		return err
	}
	sleep(ctx, n.between(100, 1500))
	if n.r.IntN(3) == 0 && n.world.sink.file {
		err = n.rotate(true)
	}
	return errors.Join(err, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil))
}
