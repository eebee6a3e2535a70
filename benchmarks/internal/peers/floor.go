package peers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// startFloor starts the program that measures as the simplest relay in Go: it reads a head,
// dials what stands in it, and copies with io.Copy.
func (b *Bench) startFloor() (*load.Target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := process.Start(b.Dir, self, "-floor", addr)
	if err != nil {
		return nil, err
	}
	return &load.Target{Name: "io.Copy floor", Closes: true, Version: "this commit", Proc: p, Addr: addr, Host: "127.0.0.1"}, p.Await(addr)
}

// ServeFloor is what the floor does: the program that measures starts itself so,
// with -floor ADDRESS. It has no policy and no limits.
func ServeFloor(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			// Six descriptors a tunnel are soon all there are; some come back.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go relayFloor(c.(*net.TCPConn))
	}
}

func relayFloor(c *net.TCPConn) {
	defer c.Close()
	br := bufio.NewReaderSize(c, 2048)
	line, err := br.ReadString('\n')
	f := strings.Fields(line)
	if err != nil || len(f) != 3 {
		return
	}
	for line != "\r\n" {
		if line, err = br.ReadString('\n'); err != nil {
			return
		}
	}
	dialed, err := net.Dial("tcp", f[1])
	if err != nil {
		return
	}
	o := dialed.(*net.TCPConn)
	defer o.Close()
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(o, c)
		_ = o.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(c, o)
	_ = c.CloseWrite()
	<-done
}
