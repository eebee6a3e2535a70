// Package memory measures how much of the task's memory is in use, and sets the
// garbage collector by it.
//
// What it does: it reads the limit and the use of the cgroup, or of the machine
// where there is none, beside what the Go runtime says of itself.
//
// What it does not do: it refuses nothing. Whoever admits requests asks the Gauge.
//
//	memory.SetLimit(log)
//	used, limit := memory.NewGauge().Usage(held)
package memory

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strconv"
	"strings"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// SetLimit sets the collector by the memory that the task has, its cgroup's
// or else the machine's: a soft limit of nine tenths of it, and below that fewer
// collections than by default. GOMEMLIMIT and GOGC in the environment go before.
func SetLimit(log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(0.9),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if err != nil {
		log.Warn("the memory limit is not known; the collector keeps its default", "error", err)
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	log.Info("memory limit", "bytes", limit)
}

// Gauge says how much of the task's memory is in use for good: without
// what the collector or the kernel could free. It counts what the kernel holds
// for the task, buffers of sockets above all, because the kernel does when it
// decides whom to kill; the Go runtime sees none of that.
type Gauge struct {
	limit uint64
	group *cgroup // nil: the task has no cgroup with a limit, and only the program itself is counted
	fixed bool    // GOMEMLIMIT is the operator's

	mu      sync.Mutex
	samples []runtimemetrics.Sample
	cycles  uint64 // collections so far
	heldAt  uint64 // what was held when the last of them was seen
	soft    uint64 // what the collector's limit was set to; 0: not by this gauge
}

// The metrics of the runtime that make up what it holds, in this order.
var runtimeMemory = [...]string{
	"/memory/classes/total:bytes",
	"/memory/classes/heap/released:bytes",
	"/memory/classes/heap/free:bytes",
	"/memory/classes/heap/objects:bytes",
	"/gc/heap/live:bytes",
	"/gc/cycles/total:gc-cycles",
}

// NewGauge finds the limit of the task: of its cgroup, or else of the machine.
func NewGauge() *Gauge {
	g := &Gauge{fixed: os.Getenv("GOMEMLIMIT") != ""}
	for _, name := range runtimeMemory {
		g.samples = append(g.samples, runtimemetrics.Sample{Name: name})
	}
	var err error
	if g.limit, err = memlimit.FromCgroup(); err == nil {
		g.group = findCgroup()
	} else if g.limit, err = memlimit.FromSystem(); err != nil {
		g.limit = 0
	}
	return g
}

// Usage returns the bytes in use and the bytes there are; 0: that is not known. held
// is what requests hold at worst. It has the form of proxy.Options.Memory.
func (g *Gauge) Usage(held uint64) (used, limit uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	runtimemetrics.Read(g.samples)
	v := func(i int) uint64 { return g.samples[i].Value.Uint64() }
	mapped := less(v(0), v(1))
	garbage := v(2) + g.garbage(less(v(3), v(4)), v(5), held)
	total, ok := g.group.current(g.limit / 2)
	if !ok || total < mapped {
		return less(mapped, garbage), g.limit
	}
	g.tighten(total - mapped)
	// Garbage is memory too until it has been collected: where the collector does
	// not keep up it counts.
	return max(less(total, garbage), total/10*8), g.limit
}

// garbage returns how much of what was allocated since the last collection may be taken
// for garbage: not what requests have come to hold since. In a burst that is nearly all,
// and whoever took it for garbage would let the burst in until the next collection.
func (g *Gauge) garbage(allocated, cycles, held uint64) uint64 {
	if cycles != g.cycles || held < g.heldAt {
		g.cycles, g.heldAt = cycles, held
	}
	return less(allocated, held-g.heldAt)
}

// tighten makes the collector keep to what the kernel leaves of eight tenths of
// the memory. Setting it stops the program for a moment, so small changes wait.
func (g *Gauge) tighten(kernel uint64) {
	if g.fixed || g.limit == 0 {
		return
	}
	want := max(less(g.limit/10*8, kernel), g.limit/4)
	if step := g.limit / 64; want+step > g.soft && want < g.soft+step {
		return
	}
	g.soft = want
	debug.SetMemoryLimit(int64(want))
}

// less returns a-b, 0 where that is below 0: figures that are read one after
// the other need not fit.
func less(a, b uint64) uint64 { return a - min(a, b) }

// cgroup is where the kernel says how much memory a cgroup uses.
type cgroup struct {
	usage, stat string // paths
	cache       []byte // begins the line of stat that counts what can be dropped at once
}

// findCgroup finds the files of our own cgroup, of version 2 or 1; nil: they
// are not there. In a container the path in /proc/self/cgroup may be the host's, and
// what is mounted is the group itself.
func findCgroup() *cgroup {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount, usage, cache := "/sys/fs/cgroup", "memory.current", "inactive_file "
		switch {
		case strings.Contains(","+f[1]+",", ",memory,"):
			mount, usage, cache = "/sys/fs/cgroup/memory", "memory.usage_in_bytes", "total_inactive_file "
		case f[1] != "":
			continue
		}
		for _, dir := range [...]string{filepath.Join(mount, f[2]), mount} {
			g := &cgroup{filepath.Join(dir, usage), filepath.Join(dir, "memory.stat"), []byte(cache)}
			if _, ok := g.current(0); ok {
				return g
			}
		}
	}
	return nil
}

// current returns what the cgroup uses; above enough, without the files that the
// kernel has only cached, which takes longer to find out. False: it cannot be read.
func (g *cgroup) current(enough uint64) (uint64, bool) {
	if g == nil {
		return 0, false
	}
	b, err := os.ReadFile(g.usage)
	if err != nil {
		return 0, false
	}
	used, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, false
	}
	if used <= enough {
		return used, true
	}
	b, err = os.ReadFile(g.stat)
	if err != nil {
		return used, true
	}
	for line := range bytes.Lines(b) {
		if text, ok := bytes.CutPrefix(line, g.cache); ok {
			cached, _ := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
			return less(used, cached), true
		}
	}
	return used, true
}
