//go:build torture

package torture

import (
	"context"
	"os"
	"syscall"
	"time"
)

// reload writes a file and says so by SIGHUP, or waits to be noticed.
func (n *nemesis) reload(signal bool) error {
	if err := n.write(false); err != nil {
		return err
	}
	if signal {
		n.now.signal(syscall.SIGHUP)
	}
	return nil
}

// reloadStorm reloads faster than one reload takes.
func (n *nemesis) reloadStorm(ctx context.Context) error {
	for range 4 + n.r.IntN(8) {
		if err := n.reload(true); err != nil {
			return err
		}
		sleep(ctx, n.between(0, 25))
	}
	return nil
}

// reloadBad puts a bad file at the path, and later a good one.
func (n *nemesis) reloadBad(ctx context.Context) error {
	if err := n.write(true); err != nil {
		return err
	}
	n.now.signal(syscall.SIGHUP)
	sleep(ctx, n.between(50, 900))
	return n.reload(true)
}

// reloadStopped changes the file while the process cannot see it.
func (n *nemesis) reloadStopped(ctx context.Context) error {
	over := n.world.timeline.begin(faultSlow)
	n.now.signal(syscall.SIGSTOP)
	err := n.reload(true)
	sleep(ctx, n.between(20, 400))
	n.now.signal(syscall.SIGCONT)
	over(500 * time.Millisecond)
	return err
}

// killInReload kills the process while it reloads.
func (n *nemesis) killInReload(ctx context.Context) error {
	if err := n.reload(true); err != nil {
		return err
	}
	sleep(ctx, n.between(0, 12))
	return n.kill(ctx, 1)
}

// manySignals sends SIGHUP faster than anyone can follow.
func (n *nemesis) manySignals(context.Context) error {
	for range 300 {
		n.now.signal(syscall.SIGHUP)
	}
	return n.reload(true)
}

// removeFile takes the policy file away for a while.
func (n *nemesis) removeFile(ctx context.Context) error {
	if err := os.Remove(n.world.configPath()); err != nil {
		return err
	}
	n.now.signal(syscall.SIGHUP)
	sleep(ctx, n.between(50, 900))
	return n.reload(true)
}
