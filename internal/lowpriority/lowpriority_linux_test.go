package lowpriority

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// niceOf returns how nice the calling thread is; getpriority(2) gives 20 less
// that, so that it is never negative.
func niceOf(t *testing.T) int {
	t.Helper()
	n, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	return 20 - n
}

// awaitEndOf waits until a thread of this process has ended.
func awaitEndOf(t *testing.T, thread int) {
	t.Helper()
	path := fmt.Sprintf("/proc/self/task/%d", thread)
	egresstest.Eventually(t, "the thread that is behind the others is not among them any more", func() bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func TestItRunsBehindTheThreadsThatServeAndLeavesThemAsTheyWere(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wasNice, procs, was := niceOf(t), runtime.GOMAXPROCS(0), debug.SetGCPercent(150)
	defer debug.SetGCPercent(was)
	thread := 0
	Run(func() {
		thread = syscall.Gettid()
		if got := debug.SetGCPercent(collect); got != collect {
			t.Errorf("the collector's ratio is %d meanwhile, want %d", got, collect)
		}
		if got := niceOf(t); got < nice {
			t.Errorf("the thread is nice by %d, want %d", got, nice)
		}
		if got := runtime.GOMAXPROCS(0); got != procs+1 {
			t.Errorf("%d processors, want one more than %d", got, procs)
		}
	})
	if thread == 0 {
		t.Fatal("it came back before it had run")
	}
	if thread != syscall.Getpid() { // the first thread of a process never ends
		awaitEndOf(t, thread)
	}
	if got := niceOf(t); got != wasNice {
		t.Errorf("a thread that serves is nice by %d, was %d", got, wasNice)
	}
	if got := runtime.GOMAXPROCS(0); got != procs {
		t.Errorf("%d processors, were %d", got, procs)
	}
	if got := debug.SetGCPercent(150); got != 150 {
		t.Errorf("the collector's ratio is %d, was 150", got)
	}
}
