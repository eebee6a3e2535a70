package load

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

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// The DNS filter beside servers that answer from the same list of names.
// dnsperf asks all of them the same questions over UDP, one client, a hundred
// questions at once at most. Allowed names are in the cache of each when the
// first round begins; refused ones are refused by name, without an upstream.

// LookupMeasures are all that is measured of resolvers.
var LookupMeasures = []LookupMeasure{
	{Name: "DNS, allowed and cached", MaxRatio: 1, file: "dns.allowed", code: "NOERROR"},
	{Name: "DNS, refused", MaxRatio: 1, file: "dns.refused", code: "NXDOMAIN"},
}

// LookupMeasure is one file of questions.
type LookupMeasure struct {
	Name     string
	MaxRatio float64 // at most this ratio to Unbound is the goal
	file     string
	code     string // what every answer has to say
}

// LookupUnit is the unit of every LookupMeasure.
const LookupUnit = "µs CPU"

// ListSize is how many names the lists have beside the one that is asked for.
const ListSize = 1000

// ListedName returns one of the ListSize names, from 0 on.
func ListedName(i int) string { return fmt.Sprintf("host-%d.example-%d.com", i, i%97) }

// lookupRuns is how many times a load asks for all names of its file.
const lookupRuns = 150

// Resolver is a server under load that answers lookups from a list of names.
type Resolver struct {
	Name    string
	Version string
	Proc    *process.Process
	Addr    string
	Logs    []string // files that grow with every question
}

// Questions are files of questions, and the program that asks them.
type Questions struct {
	dir  string
	perf string
}

// ErrNoDNSPerf is returned where dnsperf is not installed, without which no
// lookups are measured.
var ErrNoDNSPerf = errors.New("dnsperf is not installed")

// WriteQuestions writes the questions into a folder, as dnsperf takes them.
func WriteQuestions(dir string) (*Questions, error) {
	perf, err := exec.LookPath("dnsperf")
	if err != nil {
		return nil, ErrNoDNSPerf
	}
	var allowed, refused strings.Builder
	for i := range ListSize {
		fmt.Fprintln(&allowed, ListedName(i), "A")
		fmt.Fprintf(&refused, "host-%d.evil-%d.net A\n", i, i%97)
	}
	for file, text := range map[string]string{"dns.allowed": allowed.String(), "dns.refused": refused.String()} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return &Questions{dir, perf}, nil
}

// FillCache asks for every allowed name until each has its answer.
func (q *Questions) FillCache(r *Resolver) error {
	var err error
	for range 5 {
		if _, err = q.query(LookupMeasures[0], r, 1, "-q", "10"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("filling the cache of %s: %w", r.Name, err)
}

// Sample asks the questions of a measure and returns what one of them cost.
// Scale is how large the load is, beside the usual.
func (q *Questions) Sample(m LookupMeasure, r *Resolver, scale float64) ([]float64, error) {
	before := r.Proc.CPU()
	n, err := q.query(m, r, max(1, int(lookupRuns*scale)))
	cost := r.Proc.CPU() - before
	for _, path := range r.Logs { // a disk that fills up is not a part of this
		_ = os.Truncate(path, 0)
	}
	if err != nil {
		return nil, err
	}
	return []float64{float64(cost.Nanoseconds()) / 1000 / float64(n)}, nil
}

// The lines of dnsperf that count.
var (
	perfCompleted = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	perfLost      = regexp.MustCompile(`Queries lost:\s+(\d+)`)
	perfCodes     = regexp.MustCompile(`Response codes:\s+(.*)`)
)

// query has dnsperf ask the questions of a measure that many times and returns
// how many were answered. An answer of another kind, and more than one lost
// question of a thousand, is an error: what was measured then is something else.
func (q *Questions) query(m LookupMeasure, r *Resolver, runs int, more ...string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	host, port, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return 0, err
	}
	args := append([]string{"-s", host, "-p", port, "-d", filepath.Join(q.dir, m.file), "-n", strconv.Itoa(runs)}, more...)
	out, err := exec.CommandContext(ctx, q.perf, args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running dnsperf: %w: %s", err, out)
	}
	completed, unanswered, codes := perfCompleted.FindSubmatch(out), perfLost.FindSubmatch(out), perfCodes.FindSubmatch(out)
	if completed == nil || unanswered == nil || codes == nil {
		return 0, fmt.Errorf("reading what dnsperf says: %s", out)
	}
	n, _ := strconv.Atoi(string(completed[1]))
	gone, _ := strconv.Atoi(string(unanswered[1]))
	if want := fmt.Sprintf("%s %d (100.00%%)", m.code, n); n == 0 || gone*1000 > n || string(codes[1]) != want {
		return 0, fmt.Errorf("%d answered and %d lost, with %s; all should be %s", n, gone, codes[1], m.code)
	}
	return n, nil
}
