// Package against compares two builds of our own program, one of a git revision
// and one of the working tree, by the figures that benchmarks/compare has of it.
// Both are built with the same flags by the same compiler, and each round starts
// both afresh and measures them in turn, which one first changing from round to
// round, so that each round gives one pair for each figure. What the pairs show is package
// stats' to say. Peers are not started.
//
// Compare does all of it; Over says which figures are above a limit. It needs
// Linux, git and Go; lookups need dnsperf too, and are left out without it.
package against

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/peers"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// Options say what is compared and how long.
type Options struct {
	Revision string  // of git, that the working tree is compared with
	Rounds   int     // at least two
	Scale    float64 // how large a load is, beside the usual
	Only     string  // measure only what has this in its name; "": everything
	Limit    float64 // of the ratio new to old
	// Quick leaves out the reload and the 9,000 tunnels, makes loads smaller, and
	// begins no round that would end after two minutes.
	Quick bool
	// Progress gets a line for each sample.
	Progress io.Writer
}

// quickTime is how long a quick comparison may take, builds included.
const quickTime = 2 * time.Minute

// quickScale is how large its loads are, beside the usual.
const quickScale = 0.25

// Result is what was measured.
type Result struct {
	Old     Build    `json:"old"`
	New     Build    `json:"new"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"`
	Missing []string `json:"missing,omitempty"` // what could not be measured here, and why
	Limit   float64  `json:"limit"`
	Figures []Figure `json:"figures"`
	Errors  []string `json:"errors,omitempty"` // of samples, one each
}

// Figure is one figure of both builds.
type Figure struct {
	Name  string         `json:"name"`
	Pairs []stats.Pair   `json:"pairs"`
	Ratio stats.Interval `json:"ratio"` // of new to old
	Error string         `json:"error,omitempty"`
}

// Over returns the names of the figures whose whole interval is above the limit.
func (r *Result) Over() (names []string) {
	for _, f := range r.Figures {
		if f.Error == "" && f.Ratio.Above(r.Limit) {
			names = append(names, f.Name)
		}
	}
	return names
}

// OverLimitError says that figures are above the limit.
type OverLimitError struct {
	Names []string
	Limit float64
}

// Error names the figures.
func (e *OverLimitError) Error() string {
	return fmt.Sprintf("above %.2f of the old build: %s", e.Limit, strings.Join(e.Names, "; "))
}

// Failure returns what is wrong with the result: an *OverLimitError before all,
// then samples that failed and figures without a ratio; nil where nothing is.
func (r *Result) Failure() error {
	if over := r.Over(); len(over) > 0 {
		return &OverLimitError{over, r.Limit}
	}
	if len(r.Errors) > 0 {
		return fmt.Errorf("%d samples failed, the first one: %s", len(r.Errors), r.Errors[0])
	}
	if len(r.Figures) == 0 {
		return errors.New("nothing was measured: no figure has what -only says in its name")
	}
	for _, f := range r.Figures {
		if f.Error != "" {
			return fmt.Errorf("%s: %s", f.Name, f.Error)
		}
	}
	return nil
}

// Compare builds, starts and measures. The error is of what kept it from doing
// so; Result.Failure has what the figures say.
func Compare(ctx context.Context, o Options) (*Result, error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "against")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	before, after, err := buildBoth(ctx, ".", o.Revision, dir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Progress, "old: %s\nnew: %s\n", before, after)
	servers, err := peers.StartServers()
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, builds: [2]Build{before, after}, servers: servers}
	r := &Result{Old: before, New: after, Limit: o.Limit}
	l.questions, err = load.WriteQuestions(dir)
	if errors.Is(err, load.ErrNoDNSPerf) {
		r.Missing = append(r.Missing, "lookups: "+err.Error())
	} else if err != nil {
		return nil, err
	}
	more := func(done int) bool { return done < o.Rounds }
	if o.Quick {
		more = inTime(began, time.Now, o.Rounds)
	}
	measured, err := collect(ctx, l.kinds(o), l.open, more, o.Progress)
	if err != nil {
		return nil, err
	}
	r.Rounds, r.Errors, r.Figures = measured.rounds, measured.errors, measured.figures()
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// inTime returns whether another round may begin: all of them take as long as
// the longest one so far, and end within quickTime.
func inTime(began time.Time, now func() time.Time, rounds int) func(done int) bool {
	last, longest := began, time.Duration(0)
	return func(done int) bool {
		at := now()
		if done > 0 {
			longest = max(longest, at.Sub(last))
		}
		last = at
		return done < rounds && at.Sub(began)+longest < quickTime
	}
}

// lab is where the builds are started.
type lab struct {
	dir       string
	builds    [2]Build // old, new
	servers   *peers.Servers
	questions *load.Questions // nil: no lookups are measured
}

// side is one build in one round.
type side struct {
	bench  *peers.Bench
	target *load.Target   // runs until the round's kinds that share it are done
	filter *load.Resolver // as well; nil: no lookups are measured
}

// open starts both builds in a folder of the round. End stops them; clean
// removes the folder.
func (l *lab) open(round int) (sides [2]*side, end, clean func(), err error) {
	dir := filepath.Join(l.dir, fmt.Sprintf("round-%d", round))
	end = func() {
		for _, s := range sides {
			s.stop()
		}
	}
	clean = func() { os.RemoveAll(dir) }
	for _, i := range order(round) {
		own := filepath.Join(dir, sideNames[i])
		if err := os.MkdirAll(own, 0o755); err != nil {
			return sides, end, clean, err
		}
		sides[i] = &side{bench: &peers.Bench{Dir: own, Binary: l.builds[i].Binary, Servers: l.servers}}
		if err := sides[i].start(l); err != nil {
			return sides, end, clean, fmt.Errorf("starting the %s build, %s: %w", sideNames[i], l.builds[i], err)
		}
	}
	return sides, end, clean, nil
}

// start starts the proxy and the filter, and fills their caches.
func (s *side) start(l *lab) (err error) {
	if s.target, err = s.bench.StartOurs(); err != nil {
		return err
	}
	if _, err = load.Measures[0].Sample(s.target, l.servers.Origins, 0.1); err != nil || l.questions == nil {
		return err
	}
	if s.filter, err = s.bench.StartFilter(); err != nil {
		return err
	}
	return l.questions.FillCache(s.filter)
}

// stop stops what was started.
func (s *side) stop() {
	if s == nil {
		return
	}
	if s.target != nil {
		s.target.Proc.Stop()
	}
	if s.filter != nil {
		s.filter.Proc.Stop()
	}
}
