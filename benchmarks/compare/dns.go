package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The DNS filter beside servers that answer from the same list of names.
// dnsperf asks all of them the same questions over UDP, one client, a hundred
// questions at once at most. Allowed names are in the cache of each when the
// first round begins; refused ones are refused by name, without an upstream.

// dnsMeasures are what is compared of lookups. A peer is asked in every round.
var dnsMeasures = []dnsMeasure{
	{name: "DNS, allowed and cached", file: "dns.allowed", code: "NOERROR", goal: 1},
	{name: "DNS, refused", file: "dns.refused", code: "NXDOMAIN", goal: 1},
}

// dnsMeasure is one file of questions.
type dnsMeasure struct {
	name string
	file string  // in the bench's folder
	code string  // what every answer has to say
	goal float64 // at most this ratio to Unbound
}

// dnsRuns is how many times a load asks for all names of its file.
const dnsRuns = 150

// dnsNames are the names of the list.
func dnsNames() []string {
	all := make([]string, listSize)
	for i := range all {
		all[i] = fmt.Sprintf("host-%d.example-%d.com", i, i%97)
	}
	return all
}

// compareDNS starts the servers, measures them in turn and ends them.
func (b *bench) compareDNS(r *report) error {
	perf, err := exec.LookPath("dnsperf")
	if err != nil {
		r.missing = append(r.missing, "dnsperf, without which no lookups are measured")
		fmt.Println("missing: dnsperf")
		return nil
	}
	defer func() {
		for _, t := range r.resolvers {
			t.proc.stop()
		}
	}()
	if err := b.startResolvers(r, perf); err != nil {
		return err
	}
	for round := range r.options.rounds {
		for _, m := range dnsMeasures {
			for _, t := range r.resolvers {
				if strings.Contains(m.name, r.options.only) {
					r.takeDNS(round, m, t, perf, b.dir)
				}
			}
		}
	}
	return nil
}

// startResolvers starts every server that the machine has and fills its cache.
func (b *bench) startResolvers(r *report, perf string) error {
	if err := b.writeQuestions(); err != nil {
		return err
	}
	upstream, err := startPublicDNS()
	if err != nil {
		return err
	}
	for _, p := range dnsPeers() {
		if len(r.resolvers) > 0 && !strings.Contains(p.name, r.options.peers) {
			continue
		}
		t, err := b.startResolver(p, upstream)
		if errors.Is(err, errMissing) {
			r.missing = append(r.missing, p.name)
			fmt.Printf("missing: %s\n", p.name)
			continue
		}
		if err != nil {
			return fmt.Errorf("starting %s: %w", p.name, err)
		}
		r.resolvers = append(r.resolvers, t)
		if err := fillCache(perf, b.dir, t); err != nil {
			return fmt.Errorf("filling the cache of %s: %w", p.name, err)
		}
	}
	return nil
}

// writeQuestions writes the list, and the questions as dnsperf takes them.
func (b *bench) writeQuestions() error {
	var list, allowed, refused strings.Builder
	for i, name := range dnsNames() {
		fmt.Fprintln(&list, name)
		fmt.Fprintln(&allowed, name, "A")
		fmt.Fprintf(&refused, "host-%d.evil-%d.net A\n", i, i%97)
	}
	for file, text := range map[string]string{"dns.names": list.String(), "dns.allowed": allowed.String(), "dns.refused": refused.String()} {
		if _, err := b.write(file, text); err != nil {
			return err
		}
	}
	return nil
}

// startPublicDNS answers every A question with a public address, which a name
// may have without a rule that says so.
func startPublicDNS() (netAddr, error) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return netAddr{}, err
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if rr, err := dns.NewRR(q.Question[0].Name + " 86400 IN A 8.8.8.8"); err == nil && q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	at := pc.LocalAddr().(*net.UDPAddr)
	return netAddr{at.IP.String(), at.Port}, nil
}

// netAddr is an address as configuration files want it, in parts.
type netAddr struct {
	host string
	port int
}

// fillCache asks for every allowed name until each has its answer.
func fillCache(perf, dir string, t *answerer) error {
	var err error
	for range 5 {
		if _, err = askAll(perf, dir, dnsMeasures[0], t, 1, "-q", "10"); err == nil {
			return nil
		}
	}
	return err
}

// takeDNS measures and keeps the sample, with the error where there is one.
func (r *report) takeDNS(round int, m dnsMeasure, t *answerer, perf, dir string) {
	s := sample{Round: round, Measure: m.name, Target: t.name}
	before := t.proc.cpu()
	n, err := askAll(perf, dir, m, t, max(1, int(dnsRuns*r.options.scale)))
	if err != nil {
		s.Error = err.Error()
	} else {
		s.Values = []float64{float64((t.proc.cpu() - before).Microseconds()) / float64(n)}
	}
	for _, path := range t.logs { // a disk that fills up is not a part of this
		_ = os.Truncate(path, 0)
	}
	r.samples = append(r.samples, s)
	fmt.Printf("round %d  %-32s %-16s %v %s\n", round+1, m.name, t.name, rounded(s.Values), s.Error)
}

// The lines of dnsperf that count.
var (
	perfCompleted = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	perfLost      = regexp.MustCompile(`Queries lost:\s+(\d+)`)
	perfCodes     = regexp.MustCompile(`Response codes:\s+(.*)`)
)

// askAll has dnsperf ask the questions of a measure that many times and returns
// how many were answered. An answer of another kind, and more than one lost
// question of a thousand, is an error: what was measured then is something else.
func askAll(perf, dir string, m dnsMeasure, t *answerer, runs int, more ...string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	host, port, err := net.SplitHostPort(t.addr)
	if err != nil {
		return 0, err
	}
	args := append([]string{"-s", host, "-p", port, "-d", filepath.Join(dir, m.file), "-n", strconv.Itoa(runs)}, more...)
	out, err := exec.CommandContext(ctx, perf, args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running dnsperf: %w: %s", err, out)
	}
	completed, lost, codes := perfCompleted.FindSubmatch(out), perfLost.FindSubmatch(out), perfCodes.FindSubmatch(out)
	if completed == nil || lost == nil || codes == nil {
		return 0, fmt.Errorf("reading what dnsperf says: %s", out)
	}
	n, _ := strconv.Atoi(string(completed[1]))
	gone, _ := strconv.Atoi(string(lost[1]))
	if want := fmt.Sprintf("%s %d (100.00%%)", m.code, n); n == 0 || gone*1000 > n || string(codes[1]) != want {
		return 0, fmt.Errorf("%d answered and %d lost, with %s; all should be %s", n, gone, codes[1], m.code)
	}
	return n, nil
}
