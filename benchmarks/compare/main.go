// Command compare measures the proxy against its peers: the same load, in
// turn, on the same machine, several rounds interleaved, so that what the
// machine does beside it falls on all alike. The figures that count are the
// ratios; absolute ones move from machine to machine.
//
// What it measures: the CPU of the proxy process alone, by the kernel's clock of
// the process, over loopback; latency as the client sees it; memory and
// descriptors of idle tunnels. What it leaves out: the network, cold DNS, more than
// two cores.
//
//	go run ./benchmarks/compare
//
// With -against it measures two builds of our own program instead, one of a git
// revision and one of the working tree, and no peers. Each figure is printed with
// the least, the middle and the greatest of its rounds, and with the ratio of the
// new build to the old one and the ratio's 95% confidence interval: Student's t
// interval of the logarithms of the ratios, paired by round. It assumes that the
// pairs are independent and the logarithms roughly normal; benchmarks/README.md
// says what that means.
//
//	go run ./benchmarks/compare -against v1.2.3
//
// It exits with 0, with 1 when something failed, with 2 when it was called
// wrongly, and with 3 when an interval lies wholly above -limit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/against"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/peers"
)

func main() {
	os.Exit(program(os.Args[1:], os.Stdout, os.Stderr))
}

// program does what the arguments say and returns the exit status.
func program(args []string, out, complaints io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage())
		return 0
	case err != nil:
	case o.floor != "":
		err = peers.ServeFloor(o.floor)
	case runtime.GOOS != "linux":
		err = errors.New("measuring needs Linux: the CPU of a process is read from its kernel")
	case o.against != "":
		err = compareBuilds(o, out)
	default:
		err = compare(o)
	}
	if err != nil {
		fmt.Fprintln(complaints, "compare:", err)
	}
	return status(err)
}

// status is the exit status of an error.
func status(err error) int {
	var wrong *usageError
	var over *against.OverLimitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return 2
	case errors.As(err, &over):
		return 3
	default:
		return 1
	}
}

// compareBuilds measures two builds of ours. A signal ends it behind the sample
// that is being taken, with nothing left in the checkout; a second one at once.
func compareBuilds(o options, out io.Writer) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, cancel)
	r, err := against.Compare(ctx, against.Options{
		Revision: o.against, Rounds: o.rounds, Scale: o.scale, Only: o.only, Limit: o.limit, Quick: o.quick, Progress: out,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s", r.Table(machine()))
	if o.given["out"] {
		if err := r.Write(o.out, machine()); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return r.Failure()
}

// compare builds, starts, measures and reports.
func compare(o options) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &peers.Bench{Dir: dir, Binary: filepath.Join(dir, "proxy")}
	if text, err := exec.Command("go", "build", "-o", b.Binary, "./cmd/proxy").CombinedOutput(); err != nil {
		return fmt.Errorf("building the proxy: %w: %s", err, text)
	}
	if b.Servers, err = peers.StartServers(); err != nil {
		return err
	}
	r := &report{options: o, machine: machine(), commit: commit()}
	if err := r.compareProxies(b); err != nil {
		return err
	}
	if err := r.compareResolvers(b); err != nil {
		return fmt.Errorf("comparing lookups: %w", err)
	}
	if strings.Contains("reload", o.only) {
		if r.reload, err = b.Reload(); err != nil {
			r.reloadError = err.Error()
		}
		fmt.Printf("reload of %d rules: %+v %s\n", peers.MillionRules, r.reload, r.reloadError)
	}
	if strings.Contains("micro-benchmarks", o.only) {
		r.micro = runMicro()
	}
	r.took = time.Since(began)
	return r.write(o.out)
}

// compareProxies starts the proxies, measures them in turn and ends them.
func (r *report) compareProxies(b *peers.Bench) (err error) {
	var missing []string
	r.targets, missing, err = b.StartProxies(r.options.peers)
	defer func() {
		for _, t := range r.targets {
			t.Proc.Stop()
		}
	}()
	r.miss(missing)
	if err != nil {
		return err
	}
	for round := range r.options.rounds {
		for _, m := range load.Measures {
			for _, t := range r.targets {
				if strings.Contains(m.Name, r.options.only) && m.Can(t) && (m.EveryRound || round == 0) {
					figures, err := m.Sample(t, b.Servers.Origins, r.options.scale)
					r.add(sample{Round: round, Measure: m.Name, Target: t.Name, Values: figures}, err)
				}
			}
		}
	}
	return nil
}

// compareResolvers starts the servers, fills their caches, measures them in turn
// and ends them.
func (r *report) compareResolvers(b *peers.Bench) error {
	questions, err := load.WriteQuestions(b.Dir)
	if errors.Is(err, load.ErrNoDNSPerf) {
		r.miss([]string{"dnsperf, without which no lookups are measured"})
		return nil
	}
	if err != nil {
		return err
	}
	var missing []string
	r.resolvers, missing, err = b.StartResolvers(r.options.peers)
	defer func() {
		for _, t := range r.resolvers {
			t.Proc.Stop()
		}
	}()
	r.miss(missing)
	if err != nil {
		return err
	}
	for _, t := range r.resolvers {
		if err := questions.FillCache(t); err != nil {
			return err
		}
	}
	for round := range r.options.rounds {
		for _, m := range load.LookupMeasures {
			for _, t := range r.resolvers {
				if strings.Contains(m.Name, r.options.only) {
					figures, err := questions.Sample(m, t, r.options.scale)
					r.add(sample{Round: round, Measure: m.Name, Target: t.Name, Values: figures}, err)
				}
			}
		}
	}
	return nil
}

// miss keeps what the machine does not have.
func (r *report) miss(names []string) {
	for _, name := range names {
		r.missing = append(r.missing, name)
		fmt.Printf("missing: %s\n", name)
	}
}
