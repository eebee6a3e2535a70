package adminhttp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// pipes is a listener whose connections are pipes, which hold nothing that is not read.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// get sends a request and returns the connection, unread.
func (p pipes) get(path string) net.Conn {
	c, server := net.Pipe()
	p <- server
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n", path)
	return c
}

// status reads an answer.
func status(t *testing.T, c net.Conn) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// A client that asks for all metrics and reads nothing has them in memory for ten seconds,
// and no more than four have. Whoever asks whether the program is alive does not wait.
func TestScrapesThatHangAreBoundedAndCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		many := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{Name: "egress_many_total"}, []string{"n"})
		for i := range 1000 {
			many.WithLabelValues(fmt.Sprint(i))
		}
		s, p := New(reg, func() string { return "" }, false), make(pipes)
		done := make(chan error, 1)
		go func() { done <- s.Serve(p) }()
		var hanging []net.Conn
		for range mostScrapes {
			hanging = append(hanging, p.get("/metrics"))
			synctest.Wait()
		}
		if code, text := status(t, p.get("/metrics")); code != http.StatusServiceUnavailable {
			t.Errorf("one more: %d %.100s", code, text)
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			if code, _ := status(t, p.get(path)); code != http.StatusOK {
				t.Errorf("%s: %d", path, code)
			}
		}
		time.Sleep(scrapeTime)
		synctest.Wait()
		for _, c := range hanging {
			if text, err := io.ReadAll(c); strings.Contains(string(text), `n="999"`) {
				t.Errorf("what was not read in time is still there: %d bytes, %v", len(text), err)
			}
		}
		if code, text := status(t, p.get("/metrics")); code != http.StatusOK || !strings.Contains(text, `n="999"`) {
			t.Errorf("afterwards: %d", code)
		}
		_ = s.Close()
		<-done
	})
}
