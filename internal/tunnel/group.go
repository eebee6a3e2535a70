package tunnel

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel/pipes"
)

// keepAliveAfter is the age at which a tunnel gets Options.KeepAlive.
const keepAliveAfter = 10 * time.Second

// Options are the limits of a group. The zero value is usable and limited.
type Options struct {
	// Idle ends a tunnel after this time without a byte written to either side. Zero or less: 330 s, which is below the
	// 350 s after which a network load balancer forgets a silent flow.
	Idle time.Duration
	// Lifetime ends a tunnel this long after its start, however busy. Zero or less: 12 h.
	Lifetime time.Duration
	// Sweep is how often the sweeper looks: both limits hold to within one sweep. Zero or less: 1 s.
	Sweep time.Duration
	// KeepAlive is set on both connections once a tunnel is keepAliveAfter old: it finds peers that are gone without a
	// word, and short tunnels, which are most, need not pay its four system calls on each leg. Enable false: what the
	// connections came with stays.
	KeepAlive net.KeepAliveConfig
	// Pipes is the most pipes (two descriptors each) that streaming directions hold at the same time, beyond which they
	// copy instead. Zero: 128. Negative: never splice.
	Pipes int
}

// Group holds the open tunnels of one server.
type Group struct {
	idle, lifetime, every time.Duration
	buffers               sync.Pool // *[bufferSize]byte
	waiters               sync.Pool // *[waiterSize]byte
	pipes                 pipes.Pool
	keepAlive             net.KeepAliveConfig

	mu     sync.Mutex
	live   []*Tunnel
	closed bool
	empty  chan struct{} // closed when live becomes empty; nil while nobody waits

	scratch []*Tunnel // the sweeper's copy of live
}

// New returns a group without tunnels. Its limits are enforced while Run runs.
func New(o Options) *Group {
	g := &Group{
		idle:     orDefault(o.Idle, 330*time.Second),
		lifetime: orDefault(o.Lifetime, 12*time.Hour),
		every:    orDefault(o.Sweep, time.Second),
	}
	g.buffers.New = func() any { return new([bufferSize]byte) }
	g.waiters.New = func() any { return new([waiterSize]byte) }
	g.keepAlive = o.KeepAlive
	g.pipes.Max = o.Pipes
	if o.Pipes == 0 {
		g.pipes.Max = 128
	}
	return g
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

// Run is the sweeper: it enforces the limits until ctx ends. Tunnels without a sweeper would have no limits, so it then
// ends every open tunnel as Shutdown, turns new ones away, and returns when the last Done has returned.
// Run is called once.
func (g *Group) Run(ctx context.Context) {
	ticker := time.NewTicker(g.every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			g.sweep(time.Now())
		case <-ctx.Done():
		}
	}
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.Each(func(t *Tunnel) { t.End(Shutdown) })
	_ = g.Wait(context.WithoutCancel(ctx))
	g.pipes.Close()
}

// Len returns the number of tunnels whose Done has not returned yet.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live)
}

// Each calls f for every tunnel that was open when Each was called, without holding a lock. A tunnel that is started
// meanwhile is not seen: after a reload, swap the policy first, then call Each, and let whoever judged by the
// old policy look again once Start has returned.
func (g *Group) Each(f func(*Tunnel)) {
	for _, t := range g.snapshot(nil) {
		f(t)
	}
}

// Wait returns nil once no tunnel is open, or the error of ctx if that ends first.
func (g *Group) Wait(ctx context.Context) error {
	g.mu.Lock()
	if len(g.live) == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add enters t and reports whether the group still takes tunnels.
func (g *Group) add(t *Tunnel) (open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t.slot = len(g.live)
	g.live = append(g.live, t)
	return !g.closed
}

// remove takes t out; the last tunnel moves into its slot.
func (g *Group) remove(t *Tunnel) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.live) - 1
	moved := g.live[last]
	g.live[t.slot], moved.slot = moved, t.slot
	g.live[last] = nil
	g.live = g.live[:last]
	if last == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// snapshot appends the open tunnels to buf: judging thousands of them must not hold up the next Start.
func (g *Group) snapshot(buf []*Tunnel) []*Tunnel {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append(buf, g.live...)
}

// sweep ends the tunnels that are past a limit. A limit is met at the sweep that lies nearest to it, so that a ticker which
// fires a moment early does not add a whole sweep.
func (g *Group) sweep(now time.Time) {
	g.scratch = g.snapshot(g.scratch[:0])
	slack := now.Add(g.every / 2)
	for _, t := range g.scratch {
		up, down := t.Bytes()
		if up == t.seenUp {
			t.findDead(up)
		}
		if up != t.seenUp || down != t.seenDown {
			t.seenUp, t.seenDown, t.active = up, down, now
		}
		if g.keepAlive.Enable && !t.keepAliveSet && slack.Sub(t.started) >= keepAliveAfter {
			t.keepAliveSet = true
			t.keepAlive(g.keepAlive)
		}
		switch {
		case slack.Sub(t.started) >= g.lifetime:
			t.End(Lifetime)
		case slack.Sub(t.active) >= g.idle:
			t.End(Idle)
		}
	}
	clear(g.scratch)
	g.pipes.Trim()
}
