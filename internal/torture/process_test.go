//go:build torture

package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// build builds the program. overlay is a file for `go build -overlay`, "" for
// the tree as it is.
func build(ctx context.Context, to, overlay string, race bool) error {
	args := []string{"build", "-o", to}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/proxy")...)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building cmd/proxy: %w\n%s", err, out)
	}
	return nil
}

// bootPlan is what of the policy file holds for a process's whole life.
type bootPlan struct {
	output         string
	refusalRecords int
	count          bool // on_failure: what cannot be recorded is let through and counted
}

// process is one run of the program.
type process struct {
	world   *world
	cmd     *exec.Cmd
	stderr  string  // path of its log
	out     *reader // nil: records go to a file
	exited  chan struct{}
	started time.Time
	ready   time.Time // when it said first that it has all keys; zero: not while it was awaited
	killed  bool
	// unrecorded: it ended in order while the output failed, so that its last
	// record may be there or not.
	unrecorded bool
}

// mostDescriptors is how many descriptors the program may open. What callers share is
// cut to them: few enough for attackers to take all of it, if it is not shared out.
const mostDescriptors = 3072

// errNotReady is a program that does not come to serve.
var errNotReady = errors.New("the program does not serve")

// start starts the program and waits until it is ready.
func (w *world) start(ctx context.Context, number int) (*process, error) {
	p := &process{world: w, exited: make(chan struct{}), started: time.Now()}
	p.stderr = filepath.Join(w.dir, fmt.Sprintf("stderr.%04d", number))
	log, err := os.Create(p.stderr)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command("/bin/sh", "-c", fmt.Sprintf("ulimit -n %d && exec \"$0\" \"$@\"", mostDescriptors), w.options.binary, "run", "--pprof", "--config", w.configPath())
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0 halt_on_error=0", "GOTRACEBACK=all", "SSL_CERT_FILE=" + w.fetched.authority}
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var theirs *os.File
	if !w.sink.file {
		ours, writer, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		theirs, p.cmd.Stdout = writer, writer
		if p.out, err = w.sink.read(ours); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if theirs != nil {
		_ = theirs.Close()
	}
	go func() { defer close(p.exited); _ = p.cmd.Wait() }()
	return p, p.awaitReady(ctx)
}

// awaitReady waits until /readyz says so, or that keys alone are lacking: their issuer may
// not have them, and all others are served meanwhile.
func (p *process) awaitReady(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.exited:
			return fmt.Errorf("%w: it ended: %s", errNotReady, p.log())
		default:
		}
		switch status, text, err := p.get("/readyz"); {
		case err != nil:
		case status == http.StatusOK:
			p.ready = time.Now()
			return nil
		case status == http.StatusServiceUnavailable && strings.Contains(string(text), "the keys of account "+fetchedAccount+" are not there yet"):
			return nil
		}
	}
	return fmt.Errorf("%w in time: %s", errNotReady, p.log())
}

// log returns the end of what it has logged.
func (p *process) log() string {
	b, _ := os.ReadFile(p.stderr)
	return string(b[max(0, len(b)-2000):])
}

// get asks the admin listener.
func (p *process) get(path string) (int, []byte, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 15 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", p.world.ports.admin, path))
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// signal sends a signal; to a process that has ended it does nothing.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// wait waits for the end and returns the exit code, -1 for a death by signal.
func (p *process) wait(patience time.Duration) (int, error) {
	select {
	case <-p.exited:
		if p.out != nil {
			<-p.out.done
		}
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // its stacks are worth more than its exit
		select {
		case <-p.exited:
		case <-time.After(5 * time.Second):
			p.signal(syscall.SIGKILL)
			<-p.exited
		}
		return -1, fmt.Errorf("the program does not end within %s; its stacks are in %s", patience, p.stderr)
	}
}

// metrics are the samples of /metrics by name and labels as they are printed.
type metrics map[string]float64

// scrape reads the metrics.
func (p *process) scrape() (metrics, error) {
	status, text, err := p.get("/metrics")
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("scraping the metrics: status %d: %w", status, err)
	}
	m := metrics{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		at := strings.LastIndexByte(s.Text(), ' ')
		if at < 0 || s.Text()[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(s.Text()[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("reading metric %q: %w", s.Text(), err)
		}
		m[s.Text()[:at]] = value
	}
	return m, nil
}

// sum adds the samples of a metric up.
func (m metrics) sum(name string) (total float64) {
	for key, value := range m {
		if key == name || strings.HasPrefix(key, name+"{") {
			total += value
		}
	}
	return total
}

// labels takes the labels of a sample of the metric apart.
func labels(key, name string) (map[string]string, bool) {
	inner, ok := strings.CutPrefix(key, name+"{")
	if !ok {
		return nil, false
	}
	all := map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimSuffix(inner, "}"), ",") {
		k, v, _ := strings.Cut(pair, "=")
		v, _ = strconv.Unquote(v)
		all[k] = v
	}
	return all, true
}

// usage is what a process holds.
type usage struct {
	descriptors, goroutines, rss int
	metrics                      metrics
}

// measure reads what the process holds now.
func (p *process) measure() (usage, error) {
	pid := p.cmd.Process.Pid
	m, err := p.scrape()
	if err != nil {
		return usage{}, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return usage{}, err
	}
	var size, resident int
	if _, err := fmt.Sscan(string(status), &size, &resident); err != nil {
		return usage{}, err
	}
	return usage{len(fds), int(m["go_goroutines"]), resident * os.Getpagesize(), m}, nil
}

// failures returns the lines of its log that no run may have.
func (p *process) failures() (lines []string) {
	b, err := os.ReadFile(p.stderr)
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(b)) {
		var entry struct{ Msg string }
		_ = json.Unmarshal([]byte(line), &entry)
		for _, bad := range []string{"panic", "DATA RACE", "fatal error"} {
			if strings.Contains(line, bad) {
				lines = append(lines, p.stderr+": "+strings.TrimSpace(line))
			}
		}
		if strings.Contains(line, "torture-secret") {
			lines = append(lines, p.stderr+" holds a secret")
		}
	}
	return lines
}
