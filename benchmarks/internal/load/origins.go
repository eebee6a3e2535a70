package load

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/handshake"
)

// The names that the loads ask for.
const (
	AllowedName = "allowed.bench.test" // every list has it
	RefusedName = "refused.bench.test" // no list has it
)

// replyBytes is how much a short exchange moves.
const replyBytes = 64

// Origins are the servers that the loads reach through the proxies. They run
// in this process, whose CPU is not counted.
type Origins struct {
	Reply uint16 // reads a ClientHello, answers 64 bytes, waits for the end
	echo  uint16 // reads a ClientHello, then sends back what comes
	down  uint16 // reads a ClientHello and a length, then sends that many bytes
	up    uint16 // reads a ClientHello and a length, takes that many bytes, answers 64
	HTTP  uint16 // plain HTTP, as servePlain says
	tls   uint16 // TLS with HTTP, 64 bytes a response
	hello []byte // a ClientHello for AllowedName
}

// StartOrigins starts all of them.
func StartOrigins() (*Origins, error) {
	o := &Origins{}
	var err error
	if o.hello, err = handshake.ClientHello(AllowedName); err != nil {
		return nil, err
	}
	for port, serve := range map[*uint16]func(net.Conn){
		&o.Reply: o.serveReply, &o.echo: o.serveEcho, &o.down: o.serveDown, &o.up: o.serveUp,
	} {
		if *port, err = listenAndServe(serve); err != nil {
			return nil, err
		}
	}
	handler := http.HandlerFunc(servePlain)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o.HTTP = portOf(plain)
	go func() { _ = http.Serve(plain, handler) }()
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o.tls = portOf(secure)
	cert, err := handshake.Certificate(AllowedName)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	go func() { _ = server.ServeTLS(secure, "", "") }()
	return o, nil
}

// Ports returns every port, for the lists of the proxies.
func (o *Origins) Ports() []uint16 { return []uint16{o.Reply, o.echo, o.down, o.up, o.HTTP, o.tls} }

func portOf(ln net.Listener) uint16 { return ln.Addr().(*net.TCPAddr).AddrPort().Port() }

// listenAndServe serves each connection in a goroutine until the process ends.
func listenAndServe(serve func(net.Conn)) (uint16, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return portOf(ln), nil
}

// skipHello reads the ClientHello that every load begins with.
func (o *Origins) skipHello(c net.Conn) error {
	_, err := io.ReadFull(c, make([]byte, len(o.hello)))
	return err
}

func (o *Origins) serveReply(c net.Conn) {
	if o.skipHello(c) == nil {
		_, _ = c.Write(make([]byte, replyBytes))
		_, _ = io.Copy(io.Discard, c)
	}
}

func (o *Origins) serveEcho(c net.Conn) {
	if o.skipHello(c) != nil {
		return
	}
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

func (o *Origins) serveDown(c net.Conn) {
	if o.skipHello(c) != nil {
		return
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	left, _ := strconv.ParseInt(line[:len(line)-1], 10, 64)
	b := make([]byte, 256<<10)
	for left > 0 {
		n, err := c.Write(b[:min(left, int64(len(b)))])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}

func (o *Origins) serveUp(c net.Conn) {
	if o.skipHello(c) != nil {
		return
	}
	br := bufio.NewReaderSize(c, 256<<10)
	line, err := br.ReadString('\n')
	if err != nil {
		return
	}
	n, _ := strconv.ParseInt(line[:len(line)-1], 10, 64)
	// Not by half-close: some peers end the tunnel at one.
	if _, err := io.CopyN(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{br}, n); err == nil {
		_, _ = c.Write(make([]byte, replyBytes))
	}
}
