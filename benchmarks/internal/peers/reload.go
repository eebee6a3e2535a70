package peers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// MillionRules is how many names the reloaded list has.
const MillionRules = 1_000_000

// Reload is what a reload of a large list does to the requests meanwhile.
type Reload struct {
	Before   float64 `json:"p99_before_ms"`
	During   float64 `json:"p99_during_ms"`
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests_during"`
}

// millionNames writes a list to a file; salt makes two lists differ in every name.
func (b *Bench) millionNames(file, salt string) (string, error) {
	var list strings.Builder
	for i := range MillionRules {
		fmt.Fprintf(&list, "host-%d.%s.example-%d.com\n", i, salt, i%9973)
	}
	return b.write(file, list.String())
}

// Reload starts our proxy with a list of 1,000,000 names, runs a steady load of
// allowed CONNECTs, replaces the list under it, and compares the p99 while the
// new one is loaded and compiled with that before.
func (b *Bench) Reload() (Reload, error) {
	set, err := b.millionNames("million.txt", "one")
	if err != nil {
		return Reload{}, err
	}
	next, err := b.millionNames("million.next", "two")
	if err != nil {
		return Reload{}, err
	}
	t, err := b.startOursWith("million", set, newer{})
	if err != nil {
		return Reload{}, err
	}
	defer t.Proc.Stop()
	stop := make(chan struct{})
	samples, finish := t.SteadyLoad(b.Servers.Origins, stop)
	time.Sleep(4 * time.Second)
	began, ended, err := b.replace(t, next, set)
	close(stop)
	if loadErr := finish(); err == nil {
		err = loadErr
	}
	if err != nil {
		return Reload{}, err
	}
	before, during := split(*samples, began, ended)
	return Reload{
		Before: load.Milliseconds(stats.Percentile(before, .99)), During: load.Milliseconds(stats.Percentile(during, .99)),
		Seconds: ended.Sub(began).Seconds(), Requests: len(during),
	}, nil
}

// replace puts another list into the place of the one in use, has it loaded, and
// returns when that began and when it was recorded. In one step: the proxy looks
// for changed files itself, and would load a list that is being written as well.
func (b *Bench) replace(t *load.Target, next, set string) (began, ended time.Time, err error) {
	began = time.Now()
	if err := os.Rename(next, set); err != nil {
		return began, ended, err
	}
	if err := t.Proc.Signal(syscall.SIGHUP); err != nil {
		return began, ended, err
	}
	err = awaitRecord(filepath.Join(b.Dir, "million.records"), `"event":"reloaded"`)
	return began, time.Now(), err
}

// awaitRecord waits until a record holds the text.
func awaitRecord(path, text string) error {
	for range 600 {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(text)) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no record with %s within 30 s", text)
}

// split sorts the samples into those before an instant and those between it
// and a later one.
func split(all []load.Timed, began, ended time.Time) (early, during []time.Duration) {
	for _, s := range all {
		switch {
		case s.Began.Before(began):
			early = append(early, s.Took)
		case s.Began.Before(ended):
			during = append(during, s.Took)
		}
	}
	return early, during
}
