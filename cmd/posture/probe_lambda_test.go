package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// runtimeAPI stands in for Lambda's Runtime API.
type runtimeAPI struct {
	address string
	events  chan string // each is one invocation
	answers chan [2]string
	left    time.Duration // of an invocation's time when it is given out
}

// newRuntimeAPI serves one on a listener, until the test ends.
func newRuntimeAPI(t *testing.T, ln net.Listener, left time.Duration) *runtimeAPI {
	t.Helper()
	api := &runtimeAPI{address: ln.Addr().String(), events: make(chan string), answers: make(chan [2]string, 1), left: left}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case event := <-api.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(api.left).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:111122223333:function:probe")
			_, _ = io.WriteString(w, event)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/8476a536/{what}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		api.answers <- [2]string{r.PathValue("what"), string(body)}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return api
}

// function is the program as a function of Lambda.
type function struct {
	api            *runtimeAPI
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	end            func()
}

// newFunction starts it, by a command that comes before the program's name, with variables.
func newFunction(t *testing.T, api *runtimeAPI, by []string, env ...string) *function {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	by = append(slices.Clone(by), program)
	f := &function{api: api, cmd: exec.CommandContext(t.Context(), by[0], by[1:]...)}
	f.cmd.Env = append(os.Environ(), asPosture+"=1", runtimeVariable+"="+api.address)
	f.cmd.Env = append(f.cmd.Env, env...)
	f.cmd.Stdout, f.cmd.Stderr = &f.stdout, &f.stderr
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.end = sync.OnceFunc(func() {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait() // it was killed
	})
	t.Cleanup(f.end)
	return f
}

// invoke invokes it with an event, and returns what it answers: "response" or "error", and
// the text.
func (f *function) invoke(t *testing.T, event string) (what, text string) {
	t.Helper()
	end := time.After(30 * time.Second)
	select {
	case f.api.events <- event:
	case <-end:
		t.Fatal("the function asks for no invocation")
	}
	select {
	case a := <-f.api.answers:
		return a[0], a[1]
	case <-end:
		t.Fatal("the function does not answer")
	}
	return "", ""
}

// refusing is a proxy that answers each CONNECT with 403, unless it is mute, and keeps what
// it was asked for.
type refusing struct {
	url  string
	mute bool
	mu   sync.Mutex
	seen []string
}

// newRefusing starts one, with a credential in its URL.
func newRefusing(t *testing.T, mute bool) *refusing {
	t.Helper()
	ln := loopback(t)
	p := &refusing{url: "http://fn:c0vert@" + ln.Addr().String(), mute: mute}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *refusing) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.seen = append(p.seen, r.Host)
	p.mu.Unlock()
	if !p.mute {
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	_, _ = conn.Read(make([]byte, 1)) // until the other side ends
}

// loopback listens on a port of this machine.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// Whoever may invoke the function must not have it connect to where they like.
func TestAsAFunctionItProbesAtEachInvocationAndTheEventHasNoSay(t *testing.T) {
	t.Parallel()
	proxy := newRefusing(t, false)
	f := newFunction(t, newRuntimeAPI(t, loopback(t), time.Minute), nil,
		proxyVariable+"="+proxy.url, "PROBE_CONTROL=allowed.test:443", "PROBE_TARGET=ipv6= ntp=192.0.2.1:123", "PROBE_FORMAT=json,emf,ocsf", "PROBE_DEPLOYMENT=blue")
	for _, event := range []string{
		`{}`, `{"control":"evil.test:443","target":["direct-443=127.0.0.1:1#evil.test"],"PROBE_CONTROL":"evil.test:443","args":["--control","evil.test:443"]}`, `"--control=evil.test:443"`,
	} {
		what, text := f.invoke(t, event)
		var got answer
		if err := json.Unmarshal([]byte(text), &got); what != "response" || err != nil || got.Verdict != probe.Unknown || got.Headline == "" {
			t.Errorf("%s: %s %s", event, what, text)
		}
	}
	f.end()
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	if len(proxy.seen) != 3 || slices.ContainsFunc(proxy.seen, func(s string) bool { return s != "allowed.test:443" }) {
		t.Errorf("the proxy was asked for %q", proxy.seen)
	}
	lines := strings.Split(strings.TrimSpace(f.stdout.String()), "\n")
	if len(lines) != 9 || strings.Count(f.stdout.String(), `"ProbeControl":0`) != 3 || strings.Count(f.stdout.String(), `"class_uid":2003`) != 3 {
		t.Errorf("the log has %d lines:\n%s", len(lines), f.stdout.String())
	}
	if strings.Contains(f.stdout.String()+f.stderr.String(), "c0vert") {
		t.Error("the log has the credential")
	}
}

// What fails a build by its exit code fails an invocation here, where a schedule and its
// alarm can see it.
func TestAsAFunctionItFailsTheInvocationOnWhatFailOnSays(t *testing.T) {
	t.Parallel()
	proxy := newRefusing(t, false)
	f := newFunction(t, newRuntimeAPI(t, loopback(t), time.Minute), nil, proxyVariable+"="+proxy.url, "PROBE_CONTROL=allowed.test:443", "PROBE_FAIL_ON=unknown", "PROBE_FORMAT=json")
	for range 2 { // the first ends no process
		if what, text := f.invoke(t, "{}"); what != "error" || !strings.Contains(text, "the control failed") {
			t.Errorf("%s %s", what, text)
		}
	}
	f.end()
	if n := strings.Count(f.stdout.String(), `"verdict":"unknown"`); n != 2 {
		t.Errorf("%d results are in the log", n)
	}
}

// A probe that has no time left says that it knows nothing, and not that nothing got
// through.
func TestAsAFunctionWithoutTimeItKnowsNothing(t *testing.T) {
	t.Parallel()
	proxy := newRefusing(t, true)
	f := newFunction(t, newRuntimeAPI(t, loopback(t), 0), nil, proxyVariable+"="+proxy.url, "PROBE_CONTROL=allowed.test:443", "PROBE_TIMEOUT=1m")
	if what, text := f.invoke(t, "{}"); what != "response" || !strings.Contains(text, `"unknown"`) {
		t.Errorf("%s %s", what, text)
	}
	end := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	ctx, cancel = within(ctx)
	defer cancel()
	if got, ok := ctx.Deadline(); !ok || !got.Equal(end.Add(-reserve)) {
		t.Errorf("a probe ends at %v, its invocation at %v", got, end)
	}
}

func TestAsAFunctionItEndsOnSettingsThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		env  string
		want string
	}{
		{"PROBE_TIMEOUT=soon", "PROBE_TIMEOUT"}, {"PROBE_TARGET=dns=192.0.2.1:53", "--target"}, {"PROBE_CONTROL=", "--control"}, {"PROBE_FORMAT=pdf", "--format"},
	} {
		f := newFunction(t, newRuntimeAPI(t, loopback(t), time.Minute), nil, proxyVariable+"=http://fn:c0vert@127.0.0.1:1", "PROBE_CONTROL=allowed.test:443", row.env)
		_ = f.cmd.Wait() // its exit code is looked at
		if code := f.cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(f.stderr.String(), row.want) || strings.Contains(f.stderr.String(), "c0vert") {
			t.Errorf("%s: exit %d %s", row.env, code, f.stderr.String())
		}
	}
}
