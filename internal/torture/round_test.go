//go:build torture

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// round is everything that was written down in one.
type round struct {
	world      *world
	plan       bootPlan
	operations []*operation
	contacts   []*contact
	requests   []request
	queries    []query
	fetches    []fetch  // of the keys that are fetched
	files      []string // of records, in the order of their writing
	boots      []*process
	base, last usage
	lastBoot   *process
	wrong      []string      // what was wrong with how the program ended
	ebb, rest  time.Duration // until the last client had gone, and until the program had let go of everything
}

// play runs one round and checks it.
func (w *world) play(ctx context.Context, number int, dir string) (*tally, error) {
	t := newTally()
	r := rand.New(rand.NewPCG(w.options.seed, uint64(number)<<32))
	w.dir = dir
	w.timeline.reset()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := number%3 != 0
	if w.options.file != nil {
		file = *w.options.file
	}
	why, err := w.sink.open(dir, file)
	if err != nil {
		return nil, err
	}
	if why != "" {
		t.notes = append(t.notes, "no disk is filled: "+why)
	}
	n := &nemesis{world: w, r: r, plan: bootPlan{output: w.sink.path(), refusalRecords: pick(r, 100000, 100000, 60), count: r.IntN(4) == 0}}
	rd := &round{world: w, plan: n.plan}
	err = w.load(ctx, n, rd)
	for _, p := range n.boots {
		p.signal(syscall.SIGKILL) // those that have ended do not mind
	}
	w.collect(rd, n)
	rd.files, t.boots = nil, len(n.boots)
	files, closeErr := w.sink.close()
	rd.files = files
	if err = errors.Join(err, closeErr); err != nil {
		return nil, fmt.Errorf("round %d: %w", number, err)
	}
	if err := keepFiles(w.options.keep, w.options.seed, number, files); err != nil {
		return nil, err
	}
	began := time.Now()
	rd.check(t)
	t.took, t.last = time.Since(began), rd.last.metrics
	if n.plan.count {
		t.notes = append(t.notes, "what cannot be recorded is let through and counted")
	}
	t.notes = append(t.notes, fmt.Sprintf("the last client left after %s, the program was at rest %s later: %d descriptors (%d), %d goroutines (%d), %d MiB (%d)",
		rd.ebb.Round(time.Millisecond), rd.rest.Round(time.Millisecond), rd.last.descriptors, rd.base.descriptors,
		rd.last.goroutines, rd.base.goroutines, rd.last.rss>>20, rd.base.rss>>20))
	return t, nil
}

// load puts load and faults on the program, takes both off, measures, and ends
// it in order.
func (w *world) load(ctx context.Context, n *nemesis, rd *round) error {
	if err := n.write(false); err != nil {
		return err
	}
	if err := n.begin(ctx); err != nil {
		return err
	}
	sleep(ctx, 300*time.Millisecond)
	var err error
	if rd.base, err = n.now.measure(); err != nil {
		return err
	}
	if w.clients == nil {
		w.clients = newClients(w)
	}
	watching, unwatch := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); w.watchLag(watching) }()
	loading, unload := context.WithCancel(ctx)
	unloaded := make(chan struct{})
	go func() { defer close(unloaded); w.clients.run(loading) }()
	changed := w.fetched.change(loading, n.r.Uint64(), w.options.faults)
	striking, rest := context.WithTimeout(ctx, w.options.round)
	err = n.torment(striking)
	<-striking.Done()
	rest()
	w.toxic.heal()
	unload()
	stopped := time.Now()
	<-unloaded
	<-changed
	rd.ebb = time.Since(stopped)
	unwatch()
	<-watched
	if err != nil {
		return err
	}
	return rd.settle(n)
}

// settle waits until the program holds no more than at the beginning, measures
// that, and ends it.
func (rd *round) settle(n *nemesis) error {
	rd.lastBoot = n.now
	var err error
	began := time.Now()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(250 * time.Millisecond) {
		// Garbage of the load is not held, and nothing is left that would collect it.
		if _, _, err = n.now.get("/debug/pprof/heap?gc=1"); err != nil {
			return err
		}
		if rd.last, err = n.now.measure(); err != nil {
			return err
		}
		if len(rd.leftovers()) == 0 && rd.world.origins.busy() == 0 || time.Now().After(end) {
			break
		}
	}
	rd.rest = time.Since(began)
	n.now.signal(syscall.SIGTERM)
	code, err := n.now.wait(drainTime + 15*time.Second)
	if err != nil || code != 0 {
		n.ended = append(n.ended, fmt.Sprintf("at the end the program ends with %d, %v: %s", code, err, n.now.log()))
	}
	return nil
}

// How much more than at the beginning a program may hold that has nothing to do.
const (
	moreDescriptors = 6
	moreGoroutines  = 12
	moreMemory      = 64 << 20
)

// leftovers returns what the program still holds of the load.
func (rd *round) leftovers() (all []string) {
	memory := moreMemory
	if *race {
		memory *= 10 // what the race detector has noted of memory it does not give back
	}
	for _, one := range []struct {
		what            string
		now, base, more int
	}{
		{"descriptors", rd.last.descriptors, rd.base.descriptors, moreDescriptors},
		{"goroutines", rd.last.goroutines, rd.base.goroutines, moreGoroutines},
		{"bytes of memory", rd.last.rss, rd.base.rss, memory},
		{"tunnels by the gauge", int(rd.last.metrics.sum("egress_tunnels")), 0, 0},
		{"panics", int(rd.last.metrics.sum("egress_panics_total")), 0, 0},
	} {
		if one.now > one.base+one.more || one.now < 0 {
			all = append(all, fmt.Sprintf("%d %s, %d at the beginning", one.now, one.what, one.base))
		}
	}
	return all
}

// collect takes what everybody has written down.
func (w *world) collect(rd *round, n *nemesis) {
	rd.contacts, rd.requests = w.origins.reset()
	rd.queries = w.upstream.reset()
	rd.fetches = w.fetched.reset()
	if w.clients != nil {
		rd.operations = w.clients.reset()
	}
	rd.boots, rd.wrong = n.boots, n.ended
}

// lagStep and tooLate say when the machine is too busy to blame the program:
// a sleep of lagStep that takes tooLate longer.
const (
	lagStep = 20 * time.Millisecond
	tooLate = 250 * time.Millisecond
)

// watchLag notes when the machine has no time for anyone.
func (w *world) watchLag(ctx context.Context) {
	for ctx.Err() == nil {
		before := time.Now()
		_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(lagStep)}, nil)
		if late := time.Since(before) - lagStep; late > tooLate {
			w.timeline.add(faultSlow, before.Add(-time.Second), time.Now().Add(time.Second))
			w.timeline.count("the machine is busy")
		}
	}
}
