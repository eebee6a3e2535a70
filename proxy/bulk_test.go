package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// bulkSize is more than any buffer on the way has.
const bulkSize = 6 << 20

// bulk is content that has no period.
func bulk() []byte {
	b := make([]byte, bulkSize)
	g := rand.NewChaCha8([32]byte{1})
	_, _ = g.Read(b)
	return b
}

// bulkOrigin answers with content in the framing that the path names, and keeps the hash of
// what it got in a field.
func bulkOrigin(content []byte) func(net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c.(*tapConn).Conn)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Got: %d %x\r\n", n, h.Sum(nil))
			switch r.URL.Path {
			case "/length":
				fmt.Fprintf(c, "Content-Length: %d\r\n\r\n", len(content))
				_, _ = c.Write(content)
			case "/chunks":
				_, _ = io.WriteString(c, "Transfer-Encoding: chunked\r\n\r\n")
				for i := 0; i < len(content); i += 1 << 18 {
					fmt.Fprintf(c, "%x\r\n%s\r\n", 1<<18, content[i:i+1<<18])
				}
				_, _ = io.WriteString(c, "0\r\n\r\n")
			default:
				_, _ = io.WriteString(c, "\r\n")
				_, _ = c.Write(content)
				return
			}
		}
	}
}

// Content in bulk arrives whole, by whatever way it is moved, and is counted.
func TestBulkArrivesWhole(t *testing.T) {
	content := bulk()
	sum := sha256.Sum256(content)
	listener := httptest.NewUnstartedServer(nil)
	listener.StartTLS()
	config := &tls.Config{Certificates: listener.TLS.Certificates, NextProtos: []string{"http/1.1"}}
	listener.Close()
	for _, by := range []*tls.Config{nil, config} {
		o := newOrigin(t, bulkOrigin(content))
		r := newRig(t, rigOptions{tls: by, functions: []function{{name: "billing", rules: []rule{
			{host: "allowed.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}}})
		r.resolves("allowed.test", "127.0.0.1")
		for _, path := range []string{"/length", "/chunks", "/end"} {
			for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
				t.Run(fmt.Sprintf("%s, %s, TLS %v", path, version, by != nil), func(t *testing.T) {
					var c net.Conn = r.dial()
					if by != nil {
						c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					}
					defer c.Close()
					go func() {
						fmt.Fprintf(c, "PUT http://%s%s %s\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n", o.at("allowed.test"), path, version, auth("billing"), len(content))
						_, _ = c.Write(content)
					}()
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					if err != nil || !bytes.Equal(got, content) {
						t.Errorf("%d bytes came of %d, %v", len(got), len(content), err)
					}
					if want := fmt.Sprintf("%d %x", len(content), sum); resp.Header.Get("X-Got") != want {
						t.Errorf("the origin got %s", resp.Header.Get("X-Got"))
					}
				})
			}
		}
		eventually(t, "closed records", func() bool { return len(r.of("closed")) == 6 })
		for _, m := range r.of("closed") {
			if m["bytes_up"] != float64(bulkSize) || m["bytes_down"] != float64(bulkSize) {
				t.Errorf("the record says %v up, %v down", m["bytes_up"], m["bytes_down"])
			}
		}
	}
}

// Content in chunks goes up in bulk too.
func TestBulkOfChunksGoesUpWhole(t *testing.T) {
	content := bulk()
	r := newPlainRig(t, bulkOrigin([]byte("ok")))
	c := r.dial()
	go func() {
		_, _ = io.WriteString(c, r.request("POST", "/length", "Transfer-Encoding: chunked\r\n", ""))
		for i := 0; i < len(content); i += 1 << 16 {
			fmt.Fprintf(c, "%x;ext\r\n%s\r\n", 1<<16, content[i:i+1<<16])
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	}()
	resp, _ := readOne(t, bufio.NewReader(c))
	if want := fmt.Sprintf("%d %x", len(content), sha256.Sum256(content)); resp.Header.Get("X-Got") != want {
		t.Errorf("the origin got %s", resp.Header.Get("X-Got"))
	}
}

// What breaks off in bulk does not look whole, and says whose doing it was.
func TestBulkThatBreaksOffDoesNotLookWhole(t *testing.T) {
	content := bulk()
	for _, head := range []string{"Content-Length: " + strconv.Itoa(bulkSize+1), "Transfer-Encoding: chunked"} {
		r := newPlainRig(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", head)
				if strings.HasPrefix(head, "T") {
					fmt.Fprintf(c, "%x\r\n", bulkSize+1)
				}
				_, _ = c.Write(content)
			}
		})
		_, br := r.send(r.request("GET", "/", "", ""))
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%d bytes came as a whole answer", len(got))
		}
		if m := r.one("closed"); m["ended"] != "error" {
			t.Errorf("the record says %v", m["ended"])
		}
	}
}

// A client that stops in the middle of its content is told so, in bulk too.
func TestClientThatStopsInBulkIsGivenUp(t *testing.T) {
	for why, limits := range map[string]proxy.Limits{"silent": {IdleTimeout: 500 * time.Millisecond}, "end": {}} {
		r := newPlainRigFor(t, newOrigin(t, bodies), limits)
		// Where the machine stands still for that time, it is not the client who does.
		eventually(t, why+": a client that is told", func() bool {
			c := r.dial()
			defer c.Close()
			_, _ = io.WriteString(c, r.request("POST", "/", fmt.Sprintf("Content-Length: %d\r\n", bulkSize+1), ""))
			_, _ = c.Write(bulk())
			if why == "end" {
				_ = c.CloseWrite()
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			return err == nil && resp.StatusCode == 400 && resp.Header.Get("X-Egress-Reason") == "bad_request"
		})
	}
}
