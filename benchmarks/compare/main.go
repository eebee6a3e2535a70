// Command compare measures the proxy against its peers: the same load, in
// turn, on the same machine, several rounds interleaved, so that what the
// machine does beside it falls on all alike. The figures that count are the
// ratios; absolute ones move from machine to machine.
//
// What it measures: the CPU of the proxy process alone, from /proc, over
// loopback; latency as the client sees it; memory and descriptors of idle
// tunnels. What it leaves out: the network, TLS to the proxy, cold DNS, more
// than two cores.
//
//	go run ./benchmarks/compare
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	var o options
	floor := flag.String("floor", "", "be the io.Copy floor on this `ADDRESS`; the program starts itself so")
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flag.Float64Var(&o.scale, "scale", 1, "how large a load is, beside the usual")
	flag.StringVar(&o.only, "only", "", "measure only what has this in its name")
	flag.StringVar(&o.peers, "peers", "", "compare only with what has this in its name")
	flag.StringVar(&o.out, "out", "benchmarks/results", "`FOLDER` for the results")
	flag.Parse()
	if *floor != "" {
		fmt.Fprintln(os.Stderr, serveFloor(*floor))
		os.Exit(1)
	}
	if err := compare(o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds int
	scale  float64
	only   string
	peers  string
	out    string
}

// compare builds, starts, measures and reports.
func compare(o options) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, binary: filepath.Join(dir, "proxy")}
	if err := b.prepare(); err != nil {
		return err
	}
	r := &report{options: o, machine: machine(), commit: commit()}
	if err := b.compareProxies(r); err != nil {
		return err
	}
	if err := b.compareDNS(r); err != nil {
		return fmt.Errorf("comparing lookups: %w", err)
	}
	if strings.Contains("reload", o.only) {
		r.reload = b.measureReload()
		fmt.Printf("reload of %d rules: %+v\n", millionRules, r.reload)
	}
	if strings.Contains("micro-benchmarks", o.only) {
		r.micro = runMicro()
	}
	r.took = time.Since(began)
	return r.write(o.out)
}

// prepare builds our program and starts what the loads reach.
func (b *bench) prepare() (err error) {
	if out, err := exec.Command("go", "build", "-o", b.binary, "./cmd/proxy").CombinedOutput(); err != nil {
		return fmt.Errorf("building the proxy: %w: %s", err, out)
	}
	if b.origins, err = startOrigins(); err != nil {
		return err
	}
	b.dns, err = startDNS()
	return err
}

// compareProxies starts the proxies, measures them in turn and ends them.
func (b *bench) compareProxies(r *report) error {
	targets, err := b.startAll(r)
	defer func() {
		for _, t := range targets {
			t.proc.stop()
		}
	}()
	if err != nil {
		return err
	}
	for round := range r.options.rounds {
		for _, m := range measures {
			for _, t := range targets {
				if strings.Contains(m.name, r.options.only) {
					r.take(round, m, t, b.origins)
				}
			}
		}
	}
	return nil
}

// startAll starts our proxy and every peer that the machine has.
func (b *bench) startAll(r *report) ([]*target, error) {
	var all []*target
	for _, p := range []struct {
		name  string
		start func() (*target, error)
	}{
		{"this proxy", b.startOurs},
		{"Squid", b.startSquid},
		{"HAProxy (TCP)", b.startHAProxy},
		{"io.Copy floor", b.startFloor},
		{"Apache", b.startApache},
		{"tinyproxy", b.startTinyproxy},
	} {
		if len(all) > 0 && !strings.Contains(p.name, r.options.peers) {
			continue
		}
		t, err := p.start()
		if errors.Is(err, errMissing) {
			r.missing = append(r.missing, p.name)
			fmt.Printf("missing: %s\n", p.name)
			continue
		}
		if err != nil {
			return all, fmt.Errorf("starting %s: %w", p.name, err)
		}
		all = append(all, t)
		r.targets = append(r.targets, t)
	}
	return all, nil
}
