package main

import (
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load is requests of all functions, one after the other from each address.
type load struct {
	stop    chan struct{}
	end     func() // stops it and waits for the requests under way
	workers sync.WaitGroup

	mu      sync.Mutex
	done    map[string]string // client address → zone
	rounds  map[string]int    // requests that are over, by the address without its port
	retried int
	lost    []error
}

// run begins the load. A function that is told to go elsewhere asks again.
func (p *platform) run() *load {
	l := &load{stop: make(chan struct{}), done: map[string]string{}, rounds: map[string]int{}}
	for zone, addresses := range zones {
		for _, from := range addresses {
			l.workers.Go(func() { p.in(zone, func() { l.work(zone, from) }) })
		}
	}
	l.end = sync.OnceFunc(func() { close(l.stop); l.workers.Wait() })
	p.t.Cleanup(l.end)
	return l
}

// work asks until the load is over.
func (l *load) work(zone, from string) {
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		c, refused, err := connectFrom(from)
		if err == nil {
			err = echoes(c)
			_ = c.Close()
		}
		l.mu.Lock()
		l.rounds[from]++
		switch {
		case err == nil:
			l.done[c.LocalAddr().String()] = zone
		case refused != nil && refused.StatusCode == http.StatusServiceUnavailable && refused.Header.Get("X-Egress-Reason") == "draining":
			l.retried++
		default:
			l.lost = append(l.lost, err)
		}
		l.mu.Unlock()
	}
}

// toldToRetry returns how many requests have been told to ask again.
func (l *load) toldToRetry() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retried
}

// settle waits until the requests that are under way now are over.
func (l *load) settle(w *world) {
	w.t.Helper()
	l.mu.Lock()
	now := maps.Clone(l.rounds)
	l.mu.Unlock()
	w.eventually("the requests under way are over", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, addresses := range zones {
			for _, from := range addresses {
				if l.rounds[from] == now[from] {
					return false
				}
			}
		}
		return true
	})
}

// replace rolls one proxy over while tunnels are open through both. The balancer
// looks at its health only when somebody has been told to ask again, and the
// proxy goes only when the balancer has seen that it is going.
func (p *platform) replace(l *load, name string) {
	p.t.Helper()
	old := p.proxies[name]
	through, others := p.hold(old)
	p.command("disable health proxies/" + name)
	told := l.toldToRetry()
	old.signal(syscall.SIGTERM)
	p.w.eventually("a request is told to ask again", func() bool { return l.toldToRetry() > told })
	p.command("enable health proxies/" + name)
	p.w.eventually("the balancer sends nothing to "+name, func() bool { return p.isOut(name) })
	l.settle(p.w)
	old.signal(syscall.SIGTERM) // the time of the drain is over
	if code := old.wait(); code != 0 {
		p.t.Errorf("%s: exit code %d", name, code)
	}
	ended := map[string]string{}
	for _, r := range old.of("closed") {
		ended[r.ID] = r.Ended
	}
	for _, c := range others {
		if err := echoes(c); err != nil {
			p.t.Errorf("%s: a tunnel of the other proxy has ended: %v", name, err)
		}
		_ = c.Close()
	}
	for id, c := range through {
		_ = c.SetDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); ended[id] != "shutdown" || n > 0 || isTimeout(err) {
			p.t.Errorf("%s: a tunnel that outlives the drain: ended %q in the record; the client reads %d, %v", name, ended[id], n, err)
		}
		_ = c.Close()
	}
	p.start(name)
	p.w.eventually(name+" is used again", func() bool { return len(p.proxies[name].of("opened")) > 0 })
}

// hold opens tunnels from all addresses until some of them, and not all, are
// through one proxy. It returns those by their IDs, and the others.
func (p *platform) hold(one *running) (through map[string]net.Conn, others []net.Conn) {
	p.t.Helper()
	held := map[string]net.Conn{} // by the client's address
	p.t.Cleanup(func() {
		for _, c := range held {
			_ = c.Close()
		}
	})
	for range 20 {
		for zone, addresses := range zones {
			for _, from := range addresses {
				c, _, err := p.tunnel(zone, from)
				p.w.must(err)
				held[c.LocalAddr().String()] = c
				p.w.must(echoes(c))
			}
		}
		through, others = map[string]net.Conn{}, nil
		open := one.openTunnels()
		for from, c := range held {
			if id := open[from]; id != "" {
				through[id] = c
			} else {
				others = append(others, c)
			}
		}
		if len(through) > 0 && len(others) > 0 {
			return through, others
		}
	}
	p.t.Fatalf("%d tunnels, all or none of them through one proxy: the balancer does not balance", len(held))
	return nil, nil
}

// openTunnels returns the IDs of the tunnels that are open by the records, by the
// client's address: that of one that has ended can be another's by now.
func (p *running) openTunnels() map[string]string {
	p.t.Helper()
	open := map[string]string{}
	for _, r := range p.records() {
		switch {
		case r.Event == "opened":
			open[r.Client] = r.ID
		case r.Event == "closed" && open[r.Client] == r.ID:
			delete(open, r.Client)
		}
	}
	return open
}

// silence drops what goes between the balancer and the proxies, and tells
// neither side, as a balancer does with a flow that it has forgotten. It returns
// when every tunnel has ended as idle. The proxies are others, that soon say so.
func (p *platform) silence() {
	p.t.Helper()
	p.w.vars["limits"] = "drain: 1h, idle_timeout: 3s"
	for name, proxy := range p.proxies {
		proxy.signal(syscall.SIGTERM)
		proxy.wait()
		p.start(name)
	}
	from := map[string]bool{}
	for zone, addresses := range zones {
		p.w.eventually("a tunnel of "+zone, func() bool {
			c, _, err := p.tunnel(zone, addresses[0])
			if err != nil {
				return false
			}
			p.t.Cleanup(func() { _ = c.Close() })
			if echoes(c) != nil { // it has been idle already
				return false
			}
			from[c.LocalAddr().String()] = true
			return true
		})
	}
	p.nft("balancer", `table ip silent {
  chain out { type filter hook output priority 0; ip daddr { 10.77.0.11, 10.77.0.12 } drop; }
  chain in { type filter hook input priority 0; ip saddr { 10.77.0.11, 10.77.0.12 } drop; }
}
`)
	defer p.nft("balancer", "delete table ip silent\n")
	p.w.eventually("the silent tunnels are reaped", func() bool {
		n := 0
		for _, proxy := range p.proxies {
			for _, r := range proxy.of("closed") {
				if from[r.Client] {
					n++
					if r.Ended != "idle" {
						p.t.Errorf("a silent tunnel ended as %q", r.Ended)
					}
				}
			}
		}
		return n == len(from)
	})
}

// account compares what clients saw with what is recorded.
func (p *platform) account(l *load) {
	p.t.Helper()
	function, open := map[string]string{}, map[string]string{}
	for _, proxy := range p.all {
		for _, r := range proxy.records() {
			switch r.Event {
			case "opened":
				function[r.Client], open[r.ID] = r.Function, r.Client
			case "closed":
				delete(open, r.ID)
			}
		}
	}
	for from, zone := range l.done {
		if function[from] != zone {
			p.t.Errorf("%s of %s got through; the records have it as %q", from, zone, function[from])
		}
	}
	for id, from := range open {
		p.t.Errorf("the tunnel %s of %s has no record of its end", id, from)
	}
	for from := range function {
		if strings.HasPrefix(from, balancer+":") {
			p.t.Errorf("the records have the balancer as a client: %s", from)
		}
	}
}

func TestRollingReplacementLosesNothingAndRecordsEveryEnd(t *testing.T) {
	p := newPlatform(t)
	l := p.run()
	p.replace(l, "proxy1")
	p.replace(l, "proxy2")
	l.end()
	p.silence()
	for _, proxy := range p.proxies {
		proxy.signal(syscall.SIGTERM)
		proxy.wait()
	}
	p.account(l)
	for _, err := range l.lost {
		t.Errorf("a request was lost: %v", err)
	}
	if len(l.done) == 0 {
		t.Error("no request got through; the load proves nothing")
	}
	t.Logf("%d requests got through, %d were told to ask again", len(l.done), l.retried)
}
