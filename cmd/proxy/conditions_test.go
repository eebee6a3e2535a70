package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// told returns the lines of the log about a condition, each its level and what it is about.
func (p *running) told(condition string) (all []string) {
	p.t.Helper()
	for _, line := range p.logs() {
		if line["condition"] == condition {
			of, _ := line["of"].(string)
			all = append(all, strings.TrimSpace(fmt.Sprint(line["level"], " ", of)))
		}
	}
	return all
}

// Nobody scrapes here: the log alone says that the tunnels are all taken, and what was
// refused for it.
func TestLogSaysWhatIsWrongWithoutAScrape(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(strings.Replace(only("before.test"), "functions:", "limits: {tunnels: 5, tunnels_per_function: 5}\nfunctions:", 1))
	tunnels := p.open(5)
	if r := p.connect("billing", "before.test:"+w.vars["echo"]); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one tunnel more: %s", r.Status)
	}
	w.eventually("the full bound is told", func() bool { return len(p.told("bound_full")) > 0 && len(p.told("shed")) > 0 })
	for condition, want := range map[string]string{"bound_near": "WARN tunnels", "bound_full": "WARN tunnels", "shed": "WARN tunnels"} {
		if got := p.told(condition); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %s", condition, got, want)
		}
	}
	for _, r := range tunnels {
		_ = r.conn.Close()
	}
}

// Whoever reads the log as JSON reads why a start has failed.
func TestWhatEndsAStartIsALineOfTheLog(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer taken.Close()
	w.vars["echo"] = "443"
	for what, row := range map[string]struct {
		policy string
		want   []string
	}{
		"a bad file":           {broken, []string{":3: functions.billing: the key", ":4: functions.billing.identify.sources[0]: ", `:5: functions.billing.alow: no such key; did you mean "allow"?`, ":6: functions.billing.mode: "}},
		"a taken port":         {strings.Replace(only("before.test"), `proxy: "127.0.0.1:0"`, fmt.Sprintf("proxy: %q", taken.Addr()), 1), []string{"address already in use"}},
		"no such file":         {"-", []string{"no such file"}},
		"no place for records": {strings.Replace(only("before.test"), "functions:", "audit: {output: /no/such/folder/records}\nfunctions:", 1), []string{"no such file"}},
	} {
		file := filepath.Join(t.TempDir(), "egress.yaml")
		if row.policy != "-" {
			w.write(file, row.policy)
		}
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "proxy", "run", "--config", file)
		cmd.Stderr, cmd.Env = &stderr, []string{"PATH=" + os.Getenv("PATH"), exitAtOnce}
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed {
			t.Errorf("%s: %v", what, err)
		}
		var errs []string
		for line := range strings.Lines(stderr.String()) {
			var got struct {
				Time              time.Time
				Level, Msg, Error string
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Errorf("%s: %q: %v", what, line, err)
			}
			if got.Time.IsZero() || got.Msg == "" {
				t.Errorf("%s: %q", what, line)
			}
			if got.Level == "ERROR" {
				errs = append(errs, got.Error)
			}
		}
		if !slices.EqualFunc(errs, row.want, strings.Contains) {
			t.Errorf("%s: %q, want %q", what, errs, row.want)
		}
	}
}

// A scrape each second, and at the same time from several, costs no request its answer, and
// agrees with what was done.
func TestScrapesInEachSecondStandInNobodysWay(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	stop, scraped := make(chan struct{}), make(chan int, 3)
	for range 3 {
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					scraped <- n
					return
				default:
				}
				if code, text := p.get("/metrics"); code != http.StatusOK || !strings.Contains(text, "egress_decisions_total") {
					t.Errorf("a scrape: %d", code)
				}
			}
		}()
	}
	const n = 200
	for range n {
		if !p.allows("before.test") {
			t.Fatal("a request was refused")
		}
	}
	close(stop)
	for range 3 {
		if <-scraped == 0 {
			t.Error("nothing was scraped")
		}
	}
	if got := p.metric(`egress_decisions_total{function="billing",protocol="connect",reason="",verdict="allow"}`); got != fmt.Sprint(n) {
		t.Errorf("%s decisions, want %d", got, n)
	}
}
