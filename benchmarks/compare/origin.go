package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"time"
)

// The name that the loads ask for, and how much a short exchange moves.
const (
	allowedName = "allowed.bench.test"
	refusedName = "refused.bench.test"
	replyBytes  = 64
)

// origins are the servers that the loads reach through the proxies. They run
// in this process, whose CPU is not counted.
type origins struct {
	reply uint16 // reads a ClientHello, answers 64 bytes, waits for the end
	echo  uint16 // reads a ClientHello, then sends back what comes
	down  uint16 // reads a ClientHello and a length, then sends that many bytes
	up    uint16 // reads a ClientHello and a length, takes that many bytes, answers 64
	http  uint16 // plain HTTP, 64 bytes a response
	tls   uint16 // TLS with HTTP, 64 bytes a response
	hello []byte // a ClientHello for allowedName
}

// startOrigins starts all of them.
func startOrigins() (*origins, error) {
	o := &origins{}
	var err error
	if o.hello, err = clientHello(allowedName); err != nil {
		return nil, err
	}
	for port, serve := range map[*uint16]func(net.Conn){
		&o.reply: o.serveReply, &o.echo: o.serveEcho, &o.down: o.serveDown, &o.up: o.serveUp,
	} {
		if *port, err = listenAndServe(serve); err != nil {
			return nil, err
		}
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), replyBytes))
	})
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o.http = portOf(plain)
	go func() { _ = http.Serve(plain, handler) }()
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o.tls = portOf(secure)
	cert, err := certificate(allowedName)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	go func() { _ = server.ServeTLS(secure, "", "") }()
	return o, nil
}

// ports returns every port, for the lists of the proxies.
func (o *origins) ports() []uint16 { return []uint16{o.reply, o.echo, o.down, o.up, o.http, o.tls} }

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
func (o *origins) skipHello(c net.Conn) error {
	_, err := io.ReadFull(c, make([]byte, len(o.hello)))
	return err
}

func (o *origins) serveReply(c net.Conn) {
	if o.skipHello(c) == nil {
		_, _ = c.Write(make([]byte, replyBytes))
		_, _ = io.Copy(io.Discard, c)
	}
}

func (o *origins) serveEcho(c net.Conn) {
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

func (o *origins) serveDown(c net.Conn) {
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

func (o *origins) serveUp(c net.Conn) {
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

// clientHello returns the first flight of a real TLS client for name.
func clientHello(name string) ([]byte, error) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: name}).HandshakeContext(context.Background())
		client.Close()
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(server, header); err != nil {
		return nil, fmt.Errorf("making a ClientHello: %w", err)
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		return nil, fmt.Errorf("making a ClientHello: %w", err)
	}
	return append(header, body...), nil
}

// certificate makes a self-signed certificate.
func certificate(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, errors.Join(errors.New("making a certificate"), err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
