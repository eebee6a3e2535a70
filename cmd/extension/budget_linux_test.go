package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/awslocal"
)

// maxResident is what the extension may take of the function's memory, in kB.
const maxResident = 16 << 10

// The extension shares the function's memory and its start.
func TestExtensionIsSmallInMemory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "egress")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the extension: %v: %s", err, out)
	}
	runtime, sts := awslocal.NewRuntime(t), awslocal.NewSTS(t)
	registered := make(chan time.Time, 1)
	runtime.OnRegister = func() { registered <- time.Now() }
	cmd := exec.Command(file)
	cmd.Env = append(append(refusing(t), sts.Env()...), "EGRESS_LISTEN="+freePort(t), "AWS_LAMBDA_RUNTIME_API="+runtime.Address)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	t.Logf("listening and registering after %v", (<-registered).Sub(began))
	egresstest.Eventually(t, "the extension has a token", func() bool { return runtime.Pending() == 1 })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var kB int
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kB); err != nil || kB == 0 {
		t.Fatalf("reading the resident memory: %v", err)
	}
	t.Logf("resident: %d kB", kB)
	if kB > maxResident {
		t.Errorf("%d kB resident, over %d", kB, maxResident)
	}
}

// BenchmarkConnect is a CONNECT that the proxy allows and the end of its tunnel: by TLS to
// the proxy itself, by a resumed session of that, and by the extension, in turn. The
// figures are medians in microseconds; extra is what the extension adds to a resumed one.
func BenchmarkConnect(b *testing.B) {
	g := newGate(b)
	through := g.relayTo(b, basic("demo", secret))
	head := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n", strings.TrimPrefix(localhost(g.plain), "http://"), basic("demo", secret))
	byTLS := func(cache tls.ClientSessionCache) func() (net.Conn, error) {
		c := &tls.Config{ServerName: "proxy.test", RootCAs: g.authority.Pool(), ClientSessionCache: cache}
		return func() (net.Conn, error) { return tls.Dial("tcp", g.tls, c) }
	}
	ways := []struct {
		name string
		dial func() (net.Conn, error)
		took []time.Duration
	}{
		{name: "tls-µs", dial: byTLS(nil)},
		{name: "resumed-µs", dial: byTLS(tls.NewLRUClientSessionCache(1))},
		{name: "extension-µs", dial: func() (net.Conn, error) { return net.Dial("tcp", through) }},
	}
	for b.Loop() {
		for i := range ways {
			began := time.Now()
			c, err := ways[i].dial()
			if err != nil {
				b.Fatal(err)
			}
			fmt.Fprint(c, head)
			answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
			if err != nil || answer.StatusCode != http.StatusOK {
				b.Fatalf("%v, %v", answer, err)
			}
			ways[i].took = append(ways[i].took, time.Since(began))
			c.Close()
		}
	}
	var medians []float64
	for _, way := range ways {
		slices.Sort(way.took)
		medians = append(medians, float64(way.took[len(way.took)/2].Nanoseconds())/1000)
		b.ReportMetric(medians[len(medians)-1], way.name)
	}
	b.ReportMetric(medians[2]-medians[1], "extra-µs")
}
