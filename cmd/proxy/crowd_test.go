package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// order is what one part of a crowd does until it is told to end.
type order struct {
	Kind    string   // what it does: one of the words of which orders has funcs
	Proxy   string   // where the program listens
	DNS     string   // the same of its filter
	Sources []string // where it comes from, in turn
	Text    string   // what it sends, or asks for; numbered says how "{n}" is replaced
	Most    int      // connections that it leaves open, or how many it is
	Rate    float64  // how much it asks for in a second; 0: as much as it can

	sent, last atomic.Int64
}

// orders is what a crowd can do.
var orders = map[string]func(*order, context.Context){
	"leave":   (*order).leave,
	"ask":     (*order).ask,
	"connect": (*order).behave,
	"get":     (*order).behave,
	"lookup":  (*order).behave,
}

// hands is how many of a crowd open connections.
const hands = 8

// crowd is the program of that name: its argument is orders, which it carries out on one
// processor until its standard input ends. Then it prints how much each has sent.
func crowd() {
	var all []*order
	if err := json.Unmarshal([]byte(os.Args[1]), &all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for _, o := range all {
		working.Go(func() { orders[o.Kind](o, ctx) })
	}
	fmt.Println("begun")
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	working.Wait()
	for _, o := range all {
		fmt.Println(o.sent.Load())
	}
}

// numbered returns the text with a number that no other has had in the place of "{n}".
// Names below one wildcard are few enough for a caller that means well where the text
// says "{few}".
func (o *order) numbered() (text string, source string) {
	n := o.last.Add(1)
	return strings.NewReplacer("{n}", strconv.FormatInt(n, 10), "{few}", strconv.FormatInt(n%900, 10)).Replace(o.Text),
		o.Sources[n%int64(len(o.Sources))]
}

// leave sends the text on connection after connection, and leaves each open, at most that
// many at a time: the oldest goes for the newest.
func (o *order) leave(ctx context.Context) {
	conns := make(chan net.Conn, o.Most)
	o.each(ctx, hands, func() {
		text, source := o.numbered()
		c, err := dialerAt(source, "tcp").DialContext(ctx, "tcp", o.to())
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, text)
		o.sent.Add(1)
		if len(conns) > o.Most-hands {
			_ = (<-conns).Close()
		}
		conns <- c
	})
	close(conns)
	for c := range conns {
		_ = c.Close()
	}
}

// to returns where connections go: to the filter where the order does not name the proxy.
func (o *order) to() string {
	if o.Proxy != "" {
		return o.Proxy
	}
	return o.DNS
}

// ask puts question after question to the filter, over UDP, each from another port; it
// gives an answer a moment to come and does not ask again.
func (o *order) ask(ctx context.Context) {
	const moment = 50 * time.Millisecond
	o.each(ctx, o.Most, func() {
		name, source := o.numbered()
		c, err := dialerAt(source, "udp").Dial("udp", o.DNS)
		if err != nil {
			return
		}
		defer c.Close()
		pkt, err := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).Pack()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(moment))
		_, _ = c.Write(pkt)
		_, _ = c.Read(make([]byte, 1500))
		o.sent.Add(1)
	})
}

// behave asks for what it may have, takes it and goes.
func (o *order) behave(ctx context.Context) {
	p := &running{proxy: o.Proxy, dns: o.DNS}
	o.each(ctx, o.Most, func() {
		text, source := o.numbered()
		if p.take(o.Kind, source, "calm", text) == nil {
			o.sent.Add(1)
		}
	})
}

// each has so many do something again and again, together no more often than the order
// says.
func (o *order) each(ctx context.Context, many int, do func()) {
	var working sync.WaitGroup
	for i := range many {
		working.Go(func() {
			gap := time.Duration(0)
			if o.Rate > 0 {
				gap = time.Duration(float64(many) / o.Rate * float64(time.Second))
			}
			next := time.Now().Add(gap * time.Duration(i) / time.Duration(many))
			for ctx.Err() == nil {
				if wait := time.Until(next); wait > 0 {
					select {
					case <-time.After(wait):
					case <-ctx.Done():
						return
					}
				}
				next = later(next.Add(gap), time.Now().Add(-gap))
				do()
			}
		})
	}
	working.Wait()
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// take has a function that means well use the program once; an error is that it did not
// get what it may have.
func (p *running) take(what, source, function, target string) error {
	switch what {
	case "lookup":
		f, err := p.tryLookup(source, "udp", target, dns.TypeA)
		if err == nil && len(f.addrs) == 0 {
			err = fmt.Errorf("a lookup is answered %s", f)
		}
		return err
	case "get":
		r, err := p.askFrom(source, "GET http://"+target+"/ HTTP/1.1\r\nHost: "+target+"\r\nConnection: close\r\n"+authorization(function)+"\r\n")
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("a GET is answered %s", r.Status)
		}
		return err
	}
	r, err := p.askFrom(source, connectAs(function, target))
	if err != nil {
		return err
	}
	if r.conn == nil {
		return fmt.Errorf("a CONNECT is answered %s", r.Status)
	}
	defer r.conn.Close()
	if _, err = r.conn.Write([]byte("echo")); err == nil {
		_, err = io.ReadFull(r.conn, make([]byte, 4))
	}
	return err
}

// besides has a crowd do its orders while it runs something, and returns how much the
// crowd has sent for each of them.
func (w *world) besides(all []*order, run func()) (sent []float64) {
	w.t.Helper()
	b, err := json.Marshal(all)
	w.must(err)
	cmd := exec.Command("crowd", string(b))
	stdin, err := cmd.StdinPipe()
	w.must(err)
	stdout, err := cmd.StdoutPipe()
	w.must(err)
	cmd.Stderr = os.Stderr
	w.must(cmd.Start())
	begun := make([]byte, len("begun\n"))
	_, err = io.ReadFull(stdout, begun)
	w.must(err)
	run()
	w.must(stdin.Close())
	text, err := io.ReadAll(stdout)
	w.must(err)
	w.must(cmd.Wait())
	for line := range strings.Lines(string(text)) {
		n, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		w.must(err)
		sent = append(sent, n)
	}
	return sent
}

// quantile returns that part of the times, which it sorts.
func quantile(times []time.Duration, q float64) time.Duration {
	slices.Sort(times)
	return times[int(q*float64(len(times)-1))].Round(10 * time.Microsecond)
}
