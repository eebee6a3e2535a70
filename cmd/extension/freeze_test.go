package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/awslocal"
)

// echoing stands in for a proxy that opens every tunnel and gives back what comes. A
// tunnel to mortal.test ends when end is called, as those of an origin do that has waited
// long enough: a last word within the tunnel, and the end of the connection's sending.
func echoing(t *testing.T) (env []string, end func()) {
	t.Helper()
	authority := egresstest.NewAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{authority.Issue("localhost")}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var mortal []*tls.Conn
	egresstest.Serve(t, ln, func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		if r.Host == "mortal.test:443" {
			mu.Lock()
			mortal = append(mortal, c.(*tls.Conn))
			mu.Unlock()
		}
		io.Copy(c, in)
	})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return []string{"EGRESS_PROXY=https://localhost:" + port, "EGRESS_AUDIENCE=a", "EGRESS_CA=" + file}, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range mortal {
			io.WriteString(c, "the last word, 24 bytes.")
			c.CloseWrite()
		}
	}
}

// tunnel opens one and sends a line there and back.
func (e *running) tunnel(host string) (net.Conn, *bufio.Reader) {
	e.t.Helper()
	c, err := net.Dial("tcp", e.address)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(egresstest.Timeout))
	fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %[1]s:443\r\n\r\n", host)
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil || answer.StatusCode != http.StatusOK {
		e.t.Fatalf("CONNECT got %v and %v", answer, err)
	}
	e.carries(c, in)
	return c, in
}

// carries sends a line through a tunnel and back.
func (e *running) carries(c net.Conn, in *bufio.Reader) {
	e.t.Helper()
	io.WriteString(c, "ping\n")
	if line, err := in.ReadString('\n'); line != "ping\n" {
		e.t.Errorf("the tunnel carries %q, %v", line, err)
	}
}

// The process is stopped as Lambda stops it, for a second. What ended meanwhile has ended
// for the client too, without a reset; what did not goes on; a new request is served.
func TestFrozenExtensionTellsClientsWhatEndedMeanwhile(t *testing.T) {
	t.Parallel()
	sts := awslocal.NewSTS(t)
	env, end := echoing(t)
	e := startExtension(t, append(env, sts.Env()...)...)
	egresstest.Eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", e.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	var mortal []*bufio.Reader
	for range 20 {
		_, in := e.tunnel("mortal.test")
		mortal = append(mortal, in)
	}
	alive, aliveIn := e.tunnel("alive.test")
	if err := e.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	end() // the proxy goes on while the function does not
	time.Sleep(time.Second)
	if err := e.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, in := range mortal {
		if text, err := io.ReadAll(in); string(text) != "the last word, 24 bytes." || err != nil {
			t.Errorf("a client got %q and %v, want the last word and an end", text, err)
		}
	}
	e.carries(alive, aliveIn)
	e.tunnel("alive.test")
}
