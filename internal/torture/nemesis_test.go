//go:build torture

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// nemesis does to the program what happens to programs.
type nemesis struct {
	world     *world
	r         *rand.Rand
	plan      bootPlan
	serial    int
	now       *process   // the one that runs
	boots     []*process // all of the round
	ended     []string   // what was wrong with how one ended
	crowdings int        // how many there were
}

// strike is one fault.
type strike struct {
	name   string
	weight int
	on     string // file, pipe: where records have to go; "": anywhere
	do     func(n *nemesis, ctx context.Context) error
}

// strikes are all faults.
var strikes = append(crowdingStrikes(), []strike{
	{"stop and continue", 3, "", (*nemesis).stop},
	{"kill", 4, "", func(n *nemesis, ctx context.Context) error { return n.kill(ctx, 1) }},
	{"kill again while it starts", 1, "", func(n *nemesis, ctx context.Context) error { return n.kill(ctx, 2) }},
	{"drain and restart", 2, "", func(n *nemesis, ctx context.Context) error { return n.drain(ctx, 1) }},
	{"drain with a second signal", 1, "", func(n *nemesis, ctx context.Context) error { return n.drain(ctx, 2) }},
	{"reload", 5, "", func(n *nemesis, _ context.Context) error { return n.reload(true) }},
	{"reload without a signal", 1, "", func(n *nemesis, _ context.Context) error { return n.reload(false) }},
	{"reload storm", 2, "", (*nemesis).reloadStorm},
	{"reload of a bad file", 2, "", (*nemesis).reloadBad},
	{"reload while stopped", 1, "", (*nemesis).reloadStopped},
	{"kill in a reload", 2, "", (*nemesis).killInReload},
	{"rotate", 3, "file", func(n *nemesis, _ context.Context) error { return n.rotate(true) }},
	{"rotate without a signal", 1, "file", func(n *nemesis, _ context.Context) error { return n.rotate(false) }},
	{"rotate and kill", 1, "file", (*nemesis).rotateAndKill},
	{"disk full", 3, "file", func(n *nemesis, ctx context.Context) error { return n.fillDisk(ctx, nil) }},
	{"disk full, rotate", 1, "file", func(n *nemesis, ctx context.Context) error {
		return n.fillDisk(ctx, func() error { return n.rotate(true) })
	}},
	{"disk full, kill", 1, "file", func(n *nemesis, ctx context.Context) error { return n.fillDisk(ctx, n.end) }},
	{"reader of records stalls", 3, "pipe", func(n *nemesis, ctx context.Context) error { return n.stallReader(ctx, false) }},
	{"reader stalls, drain", 1, "pipe", (*nemesis).stallAndDrain},
	{"reader stalls, kill", 1, "pipe", func(n *nemesis, ctx context.Context) error { return n.stallReader(ctx, true) }},
	{"dns silent", 1, "", func(n *nemesis, ctx context.Context) error { return n.trouble(ctx, "dns silent") }},
	{"dns fails", 1, "", func(n *nemesis, ctx context.Context) error { return n.trouble(ctx, "dns fails") }},
	{"dns slow", 1, "", func(n *nemesis, ctx context.Context) error { return n.trouble(ctx, "dns slow") }},
	{"dns lies", 1, "", func(n *nemesis, ctx context.Context) error { return n.trouble(ctx, "dns lies") }},
	{"dns rebinds", 2, "", func(n *nemesis, ctx context.Context) error { return n.trouble(ctx, "dns rebinds") }},
	{"bad network before an origin", 2, "", (*nemesis).changeToxic},
	{"descriptors run out", 2, "", (*nemesis).noDescriptors},
	{"disk full, drain", 1, "file", func(n *nemesis, ctx context.Context) error {
		return n.fillDisk(ctx, func() error { return n.drainUnrecorded(ctx) })
	}},
	{"keys of AWS rotate", 4, "", (*nemesis).rotateKeys},
	{"signals without end", 1, "", (*nemesis).manySignals},
	{"file that is gone", 1, "", (*nemesis).removeFile},
}...)

// torment strikes until ctx ends, one fault at a time.
func (n *nemesis) torment(ctx context.Context) error {
	some := n.chosen()
	total := 0
	for _, s := range some {
		total += s.weight
	}
	for sleep(ctx, n.between(300, 1500)); ctx.Err() == nil && total > 0; sleep(ctx, n.between(150, 1500)) {
		at := n.r.IntN(total)
		i := slices.IndexFunc(some, func(s strike) bool { at -= s.weight; return at < 0 })
		n.world.timeline.count(some[i].name)
		// A fault that has begun ends, whatever ctx says.
		if err := some[i].do(n, context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("%s: %w", some[i].name, err)
		}
		if err := n.world.sink.clear(false); err != nil {
			return err
		}
	}
	return nil
}

// chosen returns the faults that may strike in this round.
func (n *nemesis) chosen() (some []strike) {
	where := "pipe"
	if n.world.sink.file {
		where = "file"
	}
	for _, s := range strikes {
		if s.on != "" && s.on != where || n.world.options.faults != nil && !slices.Contains(n.world.options.faults, s.name) {
			continue
		}
		if s.name[:4] == "disk" && !n.world.sink.mounted {
			continue
		}
		some = append(some, s)
	}
	return some
}

// between is a random time, in milliseconds.
func (n *nemesis) between(from, to int) time.Duration {
	return time.Duration(from+n.r.IntN(to-from)) * time.Millisecond
}

// configPath is where the policy file is.
func (w *world) configPath() string { return filepath.Join(w.dir, "egress.yaml") }

// write puts another variant, or a bad file, at the path.
func (n *nemesis) write(bad bool) error {
	w := n.world
	v := w.policies[n.r.IntN(len(w.policies))]
	if n.serial++; n.serial > 1 && n.r.IntN(unfetchedWrites) == 0 {
		v = v.without()
	}
	text, keys, badKeys := w.policyFile(v, n.serial, n.plan), w.issuer.published(), bad && n.r.IntN(2) == 0
	if bad {
		v = nil
		if !badKeys {
			text += "functions: twice\n"
		}
	}
	if err := w.issuer.publish(w.keysPath(n.serial), keys, badKeys); err != nil {
		return err
	}
	if err := os.WriteFile(w.configPath()+".new", []byte(text), 0o600); err != nil {
		return err
	}
	w.timeline.mu.Lock()
	w.timeline.writes = append(w.timeline.writes, policyWrite{serial: n.serial, hash: policyHash(text), variant: v, keys: keys, at: time.Now()})
	w.timeline.mu.Unlock()
	return os.Rename(w.configPath()+".new", w.configPath())
}

// begin starts the first process, or the next.
func (n *nemesis) begin(ctx context.Context) error {
	p, err := n.world.start(ctx, len(n.boots))
	if p != nil {
		n.now, n.boots = p, append(n.boots, p)
	}
	return err
}

// end kills the process.
func (n *nemesis) end() error {
	n.now.killed = true
	n.now.signal(syscall.SIGKILL)
	_, err := n.now.wait(patience)
	return err
}

// kill kills the process and starts it again, some times in a row.
func (n *nemesis) kill(ctx context.Context, times int) error {
	over := n.world.timeline.begin(faultDown)
	defer func() { over(300 * time.Millisecond) }()
	for range times {
		if err := n.end(); err != nil {
			return err
		}
		if times > 1 && n.r.IntN(2) == 0 {
			sleep(ctx, n.between(0, 300))
		}
		if err := n.begin(ctx); err != nil {
			return err
		}
	}
	return nil
}

// drain ends the process by SIGTERM under load and starts it again.
func (n *nemesis) drain(ctx context.Context, signals int) error {
	down, term := n.world.timeline.begin(faultDown), n.world.timeline.begin(faultTerm)
	defer func() { down(300 * time.Millisecond); term(0) }()
	for range signals {
		n.now.signal(syscall.SIGTERM)
		sleep(ctx, n.between(1, 60))
	}
	code, err := n.now.wait(drainTime + 15*time.Second)
	if err != nil || code != 0 {
		n.ended = append(n.ended, fmt.Sprintf("after SIGTERM the program ends with %d, %v: %s", code, err, n.now.log()))
	}
	return n.begin(ctx)
}

// stop stops the process for a while.
func (n *nemesis) stop(ctx context.Context) error {
	over := n.world.timeline.begin(faultSlow)
	n.now.signal(syscall.SIGSTOP)
	sleep(ctx, n.between(20, 1800))
	n.now.signal(syscall.SIGCONT)
	over(500 * time.Millisecond)
	return nil
}

// stallReader stops reading the records for a while.
func (n *nemesis) stallReader(ctx context.Context, kill bool) error {
	over := n.world.timeline.begin(faultSink)
	defer func() { over(2500 * time.Millisecond) }()
	resume := n.now.out.stall()
	sleep(ctx, n.between(300, 7500))
	if !kill {
		resume()
		return nil
	}
	down := n.world.timeline.begin(faultDown)
	defer func() { down(300 * time.Millisecond) }()
	n.now.killed = true
	n.now.signal(syscall.SIGKILL)
	resume()
	if _, err := n.now.wait(patience); err != nil {
		return err
	}
	return n.begin(ctx)
}

// stallAndDrain ends the process by SIGTERM while nobody reads its records.
func (n *nemesis) stallAndDrain(ctx context.Context) error {
	sink, down, term := n.world.timeline.begin(faultSink), n.world.timeline.begin(faultDown), n.world.timeline.begin(faultTerm)
	defer func() { sink(2500 * time.Millisecond); down(300 * time.Millisecond); term(0) }()
	stalled := n.now.out
	resume := stalled.stall()
	sleep(ctx, n.between(300, 3000))
	n.now.unrecorded = true
	n.now.signal(syscall.SIGTERM)
	select {
	case <-n.now.exited:
	case <-time.After(drainTime + 20*time.Second):
		n.ended = append(n.ended, "after SIGTERM, its records not read, the program does not end")
	}
	resume()
	if _, err := n.now.wait(patience); err != nil {
		return err
	}
	return n.begin(ctx)
}

// trouble puts the DNS upstream in a mood for a while.
func (n *nemesis) trouble(ctx context.Context, mood string) error {
	over := n.world.timeline.begin(faultDNS)
	n.world.upstream.be(mood)
	sleep(ctx, n.between(200, 1800))
	n.world.upstream.be("")
	over(2500 * time.Millisecond)
	return nil
}

// changeToxic puts another bad network before an origin.
func (n *nemesis) changeToxic(context.Context) error {
	_, err := n.world.toxic.change(n.r)
	return err
}
