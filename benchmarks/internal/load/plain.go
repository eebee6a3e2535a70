package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// servePlain is the origin of plain requests: the content of a PUT is dropped, read in pieces
// as serveUp reads, and the response has as many bytes as the path says, else 64.
func servePlain(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > 0 {
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, min(r.ContentLength, 256<<10)))
	}
	left := replyBytes
	if n, err := strconv.Atoi(strings.Trim(r.URL.Path, "/")); err == nil {
		left = n
	}
	w.Header().Set("Content-Length", strconv.Itoa(left))
	b := bytes.Repeat([]byte("x"), min(left, 256<<10))
	for left > 0 {
		n, err := w.Write(b[:min(left, len(b))])
		if err != nil {
			return
		}
		left -= n
	}
}

// request returns the head of a plain request to the host for content of that many bytes,
// with content of its own where it is a PUT.
func (t *Target) request(method, host string, port uint16, down, up int64) []byte {
	length := ""
	if method == http.MethodPut {
		length = fmt.Sprintf("Content-Length: %d\r\n", up)
	}
	return fmt.Appendf(nil, "%s http://%s:%d/%d HTTP/1.1\r\nHost: %[2]s:%[3]d\r\n%[5]s%[6]s\r\n", method, host, port, down, t.Auth, length)
}

// gets sends n plain GETs over 16 kept connections.
func (t *Target) gets(o *Origins, n int) (outcome, error) {
	return t.overConnections(n, 0, t.request(http.MethodGet, t.Host, o.HTTP, replyBytes, 0), " 200 ")
}

// pacedGets is gets, with a request each millisecond, be those before it answered or not.
func (t *Target) pacedGets(o *Origins, n int) (outcome, error) {
	return t.overConnections(n, time.Millisecond, t.request(http.MethodGet, t.Host, o.HTTP, replyBytes, 0), " 200 ")
}

// refusedGets asks n times, by GETs over 16 kept connections, for a name that is not on the list.
func (t *Target) refusedGets(o *Origins, n int) (outcome, error) {
	return t.overConnections(n, 0, t.request(http.MethodGet, t.Refused, o.HTTP, replyBytes, 0), " 403 ")
}

// overConnections sends a request n times over 16 kept connections, each when the one before it
// has its response, with a status line that has the text. With a pace there is one request in
// that time in all, and each latency counts from when its request was due.
func (t *Target) overConnections(n int, pace time.Duration, request []byte, status string) (outcome, error) {
	const workers = 16
	each := n / workers
	out := outcome{count: each * workers, latencies: make([]time.Duration, each*workers)}
	return t.measured(out, func() error {
		start := time.Now()
		return parallel(workers, workers, func(worker int) error {
			c, br, err := t.dialPlain()
			if err != nil {
				return err
			}
			defer c.Close()
			for i := range each {
				began := time.Now()
				if pace > 0 {
					began = start.Add(time.Duration(i*workers+worker) * pace)
					time.Sleep(time.Until(began))
				}
				if err := t.exchange(c, br, request, status); err != nil {
					return err
				}
				out.latencies[worker*each+i] = time.Since(began)
			}
			return nil
		})
	})
}

// content moves n bytes as the content of one response, or of one request.
func (t *Target) content(o *Origins, n int64, up bool) (outcome, error) {
	c, br, err := t.dialPlain()
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * ioTimeout))
	return t.measured(outcome{count: int(n)}, func() error {
		if !up {
			if _, err := c.Write(t.request(http.MethodGet, t.Host, o.HTTP, n, 0)); err != nil {
				return err
			}
			return t.skipLargeResponse(c, br)
		}
		if _, err := c.Write(t.request(http.MethodPut, t.Host, o.HTTP, replyBytes, n)); err != nil {
			return err
		}
		b := make([]byte, 256<<10)
		for left := n; left > 0; {
			moved, err := c.Write(b[:min(left, int64(len(b)))])
			if err != nil {
				return err
			}
			left -= int64(moved)
		}
		_, err := skipResponse(br, " 200 ", true)
		return err
	})
}

// skipLargeResponse reads a response whose content does not go through the small buffer.
func (t *Target) skipLargeResponse(c net.Conn, br *bufio.Reader) error {
	length, err := skipResponse(br, " 200 ", false)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	b := make([]byte, 256<<10)
	for left := length - br.Buffered(); left > 0; {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// dialPlain opens a connection to the proxy.
func (t *Target) dialPlain() (net.Conn, *bufio.Reader, error) {
	c, err := net.Dial("tcp", t.Addr)
	if err != nil {
		return nil, nil, err
	}
	return c, bufio.NewReader(c), nil
}

// exchange sends a request and reads its response, whose status line has to have the text.
func (t *Target) exchange(c net.Conn, br *bufio.Reader, request []byte, status string) error {
	_ = c.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := c.Write(request); err != nil {
		return err
	}
	if _, err := skipResponse(br, status, true); err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	return nil
}

// skipResponse reads the head of a response with a Content-Length, which it returns, and, where
// that is asked for, its content.
func skipResponse(br *bufio.Reader, status string, content bool) (int, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.Contains(line, []byte(status)) {
		return 0, fmt.Errorf("answered %q", line)
	}
	length := -1
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) == 2 {
			break
		}
		if name, text, _ := bytes.Cut(line, []byte(":")); strings.EqualFold(string(name), "Content-Length") {
			if _, err := fmt.Sscan(string(text), &length); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("no Content-Length")
	}
	if !content {
		return length, nil
	}
	_, err = br.Discard(length)
	return length, err
}
