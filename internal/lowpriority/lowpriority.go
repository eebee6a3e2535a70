// Package lowpriority runs computing behind what serves requests.
//
// What it does not do: it bounds nothing in time, and there is one call at a time.
//
//	lowpriority.Run(func() { policy, err = compile(file) })
package lowpriority

import (
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
)

// nice is how nice the thread of Run is. Where all processors are busy,
// it gets about a tenth of what one that serves gets: it falls behind them, and
// yet gets on, so that what it holds of the runtime's it does not hold for long.
const nice = 10

// collect is the ratio of the collector meanwhile, below the memory limit, which
// holds on: a collection stops all threads twice, and waits for this one too.
const collect = 1000

// Run runs f on a thread of its own, behind those that serve requests, and
// waits for it. A reload of a large file is a second of computing, and on two
// processors every request would notice: Go's scheduler knows no priorities, the
// kernel's does.
//
// The thread needs one of the runtime's processors whether the kernel runs it or
// not, so for that time there is one more.
func Run(f func()) {
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(procs + 1)
	defer restoreProcs(procs)
	defer debug.SetGCPercent(debug.SetGCPercent(collect))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()       // for good: the thread ends with the goroutine
		if runtime.GOOS == "linux" { // elsewhere 0 is not this thread but the process
			// A reload that must not be nicer is only felt more.
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, nice)
		}
		f()
	}()
	<-done
}

// restoreProcs puts the number of the runtime's processors back to what it was,
// or to what the machine and its cgroup give by now where the environment does
// not say.
func restoreProcs(procs int) {
	if os.Getenv("GOMAXPROCS") != "" {
		runtime.GOMAXPROCS(procs)
		return
	}
	runtime.SetDefaultGOMAXPROCS()
}
