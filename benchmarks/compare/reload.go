package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// millionRules is how many names the reloaded list has.
const millionRules = 1_000_000

// reload is what a reload of a large list does to the requests meanwhile.
type reload struct {
	Before   float64 `json:"p99_before_ms"`
	During   float64 `json:"p99_during_ms"`
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests_during"`
	Error    string  `json:"error,omitempty"`
}

// timed is one request of the load.
type timed struct {
	began time.Time
	took  time.Duration
}

// millionNames writes the list; salt makes two lists differ in every name.
func (b *bench) millionNames(salt string) (string, error) {
	var list strings.Builder
	for i := range millionRules {
		fmt.Fprintf(&list, "host-%d.%s.example-%d.com\n", i, salt, i%9973)
	}
	return b.write("million.txt", list.String())
}

// measureReload runs a steady load of allowed CONNECTs, replaces the list of
// 1,000,000 names under it, and compares the p99 while the new one is loaded
// and compiled with that before.
func (b *bench) measureReload() (out reload) {
	err := func() error {
		set, err := b.millionNames("one")
		if err != nil {
			return err
		}
		t, err := b.startOursWith("million", set)
		if err != nil {
			return err
		}
		defer t.proc.stop()
		stop := make(chan struct{})
		samples, wait := t.steadyLoad(b.origins, stop)
		time.Sleep(4 * time.Second)
		if _, err := b.millionNames("two"); err != nil {
			close(stop)
			return err
		}
		began := time.Now()
		err = syscall.Kill(t.proc.cmd.Process.Pid, syscall.SIGHUP)
		if err == nil {
			err = awaitRecord(filepath.Join(b.dir, "million.records"), `"event":"reloaded"`)
		}
		ended := time.Now()
		close(stop)
		if loadErr := wait(); err == nil {
			err = loadErr
		}
		// Writing the list costs the machine, not the proxy: what began while it
		// was written counts for neither.
		before, during := split(*samples, began.Add(-time.Second), began, ended)
		out.Before, out.During = ms(percentile(before, .99)), ms(percentile(during, .99))
		out.Seconds, out.Requests = ended.Sub(began).Seconds(), len(during)
		return err
	}()
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// steadyLoad asks with four workers until stop is closed. wait returns the
// first error; the samples are complete then.
func (t *target) steadyLoad(o *origins, stop <-chan struct{}) (samples *[]timed, wait func() error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var first error
	samples = &[]timed{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				began := time.Now()
				err := t.one(o)
				mu.Lock()
				*samples = append(*samples, timed{began, time.Since(began)})
				if err != nil && first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	return samples, func() error { wg.Wait(); return first }
}

// one is one allowed CONNECT with 64 bytes down.
func (t *target) one(o *origins) error {
	c, br, err := t.open(o.reply)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(o.hello); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, br, replyBytes)
	return err
}

// split sorts the samples into those before an instant and those between two
// others.
func split(all []timed, before, began, ended time.Time) (early, during []time.Duration) {
	for _, s := range all {
		switch {
		case s.began.Before(before):
			early = append(early, s.took)
		case s.began.After(began) && s.began.Before(ended):
			during = append(during, s.took)
		}
	}
	return early, during
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
