package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// running is the program as a process of its own.
type running struct {
	t      testing.TB
	world  *world
	cmd    *exec.Cmd
	config string // path of the policy file
	// Output goes to files, so that what is there can be read at any instant:
	// a record that is only on its way is not in the file.
	stdout, stderr string
	proxy, admin   string        // where it listens
	dns            string        // the same, "" where it has no DNS filter
	exited         chan struct{} // closed when the process has ended
	finished       bool          // the end has been looked at
	// recordFiles are where the records are, the oldest first: standard output
	// unless the test says otherwise.
	recordFiles []string
	rest        func() // waits for what it left on the way there; nil: nothing is on the way
}

// start runs `proxy run` with a policy and waits until it serves. Variables
// of the policy are filled in from the world; env adds to an environment that
// is otherwise empty. When the test ends the process has been stopped and its
// output has been checked.
func (w *world) start(policy string, env ...string) *running {
	w.t.Helper()
	dir := w.t.TempDir()
	config := filepath.Join(dir, "egress.yaml")
	w.write(config, policy)
	return w.startFile(dir, []string{"run", "--config", config}, env...)
}

// startFile runs a command line whose --config is the last word of args.
func (w *world) startFile(dir string, args []string, env ...string) *running {
	w.t.Helper()
	p := &running{
		t: w.t, world: w, config: args[len(args)-1], exited: make(chan struct{}),
		stdout: filepath.Join(dir, "stdout"), stderr: filepath.Join(dir, "stderr"),
	}
	p.recordFiles = []string{p.stdout}
	stdout, err := os.Create(p.stdout)
	w.must(err)
	defer stdout.Close()
	stderr, err := os.Create(p.stderr)
	w.must(err)
	defer stderr.Close()
	p.cmd = exec.Command("proxy", args...)
	if w.shell != "" {
		p.cmd = exec.Command("sh", append([]string{"-c", w.shell + "\nexec proxy \"$@\"", "sh"}, args...)...)
	}
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if w.stderr != nil {
		p.cmd.Stderr = w.stderr
	}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), exitAtOnce}, env...)
	p.cmd.Dir = dir
	w.must(p.cmd.Start())
	go func() { defer close(p.exited); _ = p.cmd.Wait() }()
	w.t.Cleanup(p.finish)
	w.eventually("the program serves", func() bool {
		select {
		case <-p.exited:
			w.t.Fatalf("the program ended: %s", p.read(p.stderr))
		default:
		}
		for _, line := range p.logs() {
			if line["msg"] == "serving" {
				p.proxy, p.admin = line["proxy"].(string), line["admin"].(string)
				p.dns, _ = line["dns"].(string)
				return true
			}
		}
		return false
	})
	return p
}

// exitAtOnce keeps a program that was built with -race from sleeping for a
// second when it ends.
const exitAtOnce = "GORACE=atexit_sleep_ms=0"

// connectLine is a CONNECT of a function as it goes over the wire.
func connectLine(function, target string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n" + authorization(function) + "\r\n"
}

// signal sends a signal.
func (p *running) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code.
func (p *running) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		p.t.Fatalf("the program does not end: %s", p.read(p.stderr))
	}
	return p.cmd.ProcessState.ExitCode()
}

// finish stops the program if nobody has, and checks what holds of every run:
// it ends with 0, the last record says so, the records are a chain without a
// gap, no credential is in any output, and the race detector is silent.
func (p *running) finish() {
	if p.finished {
		return
	}
	p.finished = true
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		// A second one, in case that a tunnel of the test is still open.
		_ = p.cmd.Process.Signal(syscall.SIGINT)
	}
	if code := p.wait(); code != 0 {
		p.t.Errorf("exit code %d, want 0; stderr: %s", code, p.read(p.stderr))
	}
	if p.rest != nil {
		p.rest()
	}
	if last := p.verifyChain(); last.Event != "stopped" {
		p.t.Errorf("the last of %d records is not that the program stopped", last.Seq)
	}
	p.noSecretIn("records", string(p.output()))
	p.noSecretIn("log", p.read(p.stderr))
	if log := p.read(p.stderr); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		p.t.Errorf("the program's log: %s", log)
	}
}

// noSecretIn reports a credential of the world in an output, plain or as it
// goes over the wire.
func (p *running) noSecretIn(what, text string) {
	p.t.Helper()
	if strings.Contains(text, secretPrefix) {
		p.t.Errorf("%s hold a secret: %s", what, text)
	}
	for name := range p.world.functions {
		if strings.Contains(text, credential(name)) {
			p.t.Errorf("%s hold the credential of %s", what, name)
		}
	}
}

// read returns a file whole.
func (p *running) read(path string) string {
	p.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// logs returns the lines of the operational log.
func (p *running) logs() (all []map[string]any) {
	p.t.Helper()
	for line := range strings.Lines(p.read(p.stderr)) {
		m := map[string]any{}
		if json.Unmarshal([]byte(line), &m) == nil {
			all = append(all, m)
		}
	}
	return all
}

// logged reports whether a line of the log has the message.
func (p *running) logged(msg string) bool {
	for _, m := range p.logs() {
		if m["msg"] == msg {
			return true
		}
	}
	return false
}

// record is what the tests look at of a record.
type record struct {
	Event, Boot, Prev, Policy                  string
	Seq                                        uint64
	Protocol, ID, Client, Function, Owner, Via string
	Method, Host, Verdict, Reason, Rule, File  string
	Port, Line                                 int
	Addresses                                  []string
	Dialed, SNI, Ended, Detail                 string
	BytesUp                                    int64 `json:"bytes_up"`
	BytesDown                                  int64 `json:"bytes_down"`
	Suppressed                                 int
	Functions, Rules                           int
	Was                                        string
	Gained                                     int
	Lost                                       int
	Changes                                    []struct {
		Function     string
		Gained, Lost int
	}
	ChangesMore int    `json:"changes_more"`
	QType       string `json:"type"`
}

// output returns what the stream of records holds so far, over all files.
func (p *running) output() (all []byte) {
	p.t.Helper()
	for _, path := range p.recordFiles {
		all = append(all, p.read(path)...)
	}
	return all
}

// stream returns what has been recorded so far: the lines of output that are no
// metrics. Text of a client's cannot pass for metrics: its quotes are escaped.
func (p *running) stream() (all []byte) {
	p.t.Helper()
	for line := range bytes.Lines(p.output()) {
		if !bytes.Contains(line, []byte(`"_aws":`)) {
			all = append(all, line...)
		}
	}
	return all
}

// records returns the whole records so far.
func (p *running) records() []record {
	p.t.Helper()
	whole := p.stream()
	return egresstest.Records[record](p.t, whole[:bytes.LastIndexByte(whole, '\n')+1])
}

// of returns the records of one event.
func (p *running) of(event string) (some []record) {
	p.t.Helper()
	for _, r := range p.records() {
		if r.Event == event {
			some = append(some, r)
		}
	}
	return some
}

// one returns the only record of an event and fails where there are others.
func (p *running) one(event string) record {
	p.t.Helper()
	some := p.of(event)
	if len(some) != 1 {
		p.t.Fatalf("%d records of %s, want 1", len(some), event)
	}
	return some[0]
}

// verifyChain recomputes prev and seq of every line, and returns the last.
func (p *running) verifyChain() (last record) {
	p.t.Helper()
	var prev string
	n := uint64(0)
	for line := range bytes.Lines(p.stream()) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			p.t.Fatalf("record %q: %v", line, err)
		}
		if n == 0 {
			prev = sum([]byte(r.Boot))
		}
		n++
		if r.Seq != n || r.Prev != prev {
			p.t.Fatalf("record %d has seq %d and prev %s, want prev %s", n, r.Seq, r.Prev, prev)
		}
		prev = sum(bytes.TrimSuffix(line, []byte("\n")))
		last = r
	}
	return last
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// get asks the admin listener and returns status and text.
func (p *running) get(path string) (int, string) {
	p.t.Helper()
	resp, err := direct.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// metric returns the value of a metric by its name and labels as they are
// printed, "" if there is none.
func (p *running) metric(name string) string {
	p.t.Helper()
	_, text := p.get("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// number returns the sum of a metric's series.
func (p *running) number(name string) (sum float64) {
	p.t.Helper()
	_, text := p.get("/metrics")
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		sum += n
	}
	return sum
}

// direct is a client of no proxy that keeps no connections.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// patience bounds every wait.
const patience = egresstest.Timeout

// eventually waits for a condition that another process brings about.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	w.within(patience, what, ok)
}

// within is eventually with another patience.
func (w *world) within(patience time.Duration, what string, ok func() bool) {
	w.t.Helper()
	if !egresstest.Within(patience, ok) {
		w.t.Fatalf("never: %s", what)
	}
}

// secretPrefix begins every token of the tests.
const secretPrefix = "secret-of-"

// credential is what a function sends in Proxy-Authorization.
func credential(function string) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%s%s", function, secretPrefix, function))
}

// exitCode returns the code of a command that was run.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}
