package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// newTestProgram builds the program of a policy and serves its proxy on loopback, without
// what the program does by the clock. %s is an origin's port.
func newTestProgram(t *testing.T, policy string) (p *program, address string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "egress.yaml")
	text := fmt.Sprintf("version: 1\nlisten: {proxy: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\naudit: {output: %s}\n%s", filepath.Join(dir, "records"), policy)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := newProgram(t.Context(), Options{Config: file}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	open, err := p.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.admin.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	ran, served := make(chan struct{}), make(chan error, 1)
	go func() { p.server.Run(ctx); close(ran) }()
	go func() { served <- p.server.Serve(open.proxy, nil) }()
	t.Cleanup(func() {
		cancel()
		p.server.Close()
		<-ran
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return p, open.proxy.Addr().String()
}

// moved returns what egress_bytes_total says of the function billing, both directions together.
func (p *program) moved(t *testing.T) (sum float64) {
	t.Helper()
	families, err := p.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "egress_bytes_total" {
			for _, m := range f.GetMetric() {
				for _, label := range m.GetLabel() {
					if label.GetName() == "function" && label.GetValue() == "billing" {
						sum += m.GetCounter().GetValue()
					}
				}
			}
		}
	}
	return sum
}

// A tunnel that is open for hours must not be known by its end alone: each minute the
// program counts what has gone through it, and nobody else does. The tunnel lives by the
// clock of the machine, the minute by that of the test.
func TestBytesOfAnOpenTunnelAreCountedEachMinute(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	egresstest.Serve(t, ln, func(c net.Conn) { _, _ = io.Copy(c, c) })
	port := netip.MustParseAddrPort(ln.Addr().String()).Port()
	p, address := newTestProgram(t, fmt.Sprintf(`functions:
  billing:
    identify: {sources: [127.0.0.1/32]}
    allow: [{host: localhost, ports: [%d], tls: any, addresses: [127.0.0.0/8, "::1/128"]}]
`, port))
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(egresstest.Timeout))
	_, _ = fmt.Fprintf(c, "CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%[1]d\r\n\r\n", port)
	br := bufio.NewReader(c)
	if answer, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect}); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", answer, err)
	}
	carry := func(n int) {
		t.Helper()
		_, _ = io.WriteString(c, strings.Repeat("x", n))
		if _, err := io.CopyN(io.Discard, br, int64(n)); err != nil {
			t.Fatal(err)
		}
	}
	want := 0.0
	for _, n := range []int{1000, 30} {
		carry(n)
		p.minute(t, want)
		want += 2 * float64(n)
		// What is under way in this instant is counted a minute later.
		if !egresstest.Within(egresstest.Timeout, func() bool { return p.moved(t) == want || p.minute(t, -1) }) {
			t.Fatalf("%v bytes are counted with the tunnel open, want %v", p.moved(t), want)
		}
	}
}

// minute plays a minute of what the program does by the clock, and a second more. Before it
// is over so many bytes must be counted; -1: that does not matter. It returns false.
func (p *program) minute(t *testing.T, before float64) bool {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.watchPolicy(ctx)
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if got := p.moved(t); before >= 0 && got != before {
			t.Errorf("before the minute is over %v bytes are counted, want %v", got, before)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
	})
	return false
}
