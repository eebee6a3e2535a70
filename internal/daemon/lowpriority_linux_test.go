package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

func TestReloadRunsBehindTheThreadsThatServeAndLeavesThemAsTheyWere(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nice, procs, collect := niceOf(t), runtime.GOMAXPROCS(0), debug.SetGCPercent(150)
	defer debug.SetGCPercent(collect)
	thread := 0
	runLowPriority(func() {
		thread = syscall.Gettid()
		if got := debug.SetGCPercent(lowPriorityGC); got != lowPriorityGC {
			t.Errorf("the collector's ratio is %d meanwhile, want %d", got, lowPriorityGC)
		}
		if got := niceOf(t); got < lowPriorityNice {
			t.Errorf("the thread is nice by %d, want %d", got, lowPriorityNice)
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
	if got := niceOf(t); got != nice {
		t.Errorf("a thread that serves is nice by %d, was %d", got, nice)
	}
	if got := runtime.GOMAXPROCS(0); got != procs {
		t.Errorf("%d processors, were %d", got, procs)
	}
	if got := debug.SetGCPercent(150); got != 150 {
		t.Errorf("the collector's ratio is %d, was 150", got)
	}
}

func TestLoadKeepsTheCompiledRulesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	const file = `version: 1
sets: {names: [api.example.com]}
functions: {billing: {identify: {sources: [192.0.2.1/32]}, allow: [{set: names}]}}
`
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := (&policyFile{path: path}).read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.cfg.Sets != nil || s.cfg.Functions != nil {
		t.Error("the text of the file stays in memory beside the policy")
	}
	if n := s.policy.Rules(); n != 1 {
		t.Errorf("the policy has %d rules, want 1", n)
	}
}
