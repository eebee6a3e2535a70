package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// silencePolicy lets whoever comes from the client's address reach the origin's.
const silencePolicy = `version: 1
listen: {proxy: "0.0.0.0:3128", admin: "0.0.0.0:9090"}
dns: {upstreams: ["10.78.0.3:53"], families: ip4}
limits: {drain: 1s, idle_timeout: 2s, dial_timeout: 3s}
functions:
  billing: {identify: {sources: [10.78.0.1/32]}, allow: [{cidr: 10.78.0.3/32, ports: [7], tls: any}]}
`

// One side of a tunnel is gone without a word: its packets are dropped, or its
// address is no longer there. Neither sends a FIN or a reset, and the tunnel
// ends all the same, with its cause, and the program serves on when they are back.
func TestSideThatIsGoneWithoutAWordEndsTheTunnel(t *testing.T) {
	n := newNetwork(t)
	n.add("client", "10.78.0.1")
	n.add("proxy", "10.78.0.2")
	n.add("origin", "10.78.0.3")
	w := newWorld(t)
	var ln net.Listener
	n.in("origin", func() {
		var err error
		ln, err = net.Listen("tcp", "10.78.0.3:7")
		w.must(err)
	})
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); echo(c) }()
		}
	}()
	var p *running
	config := filepath.Join(t.TempDir(), "egress.yaml")
	w.write(config, silencePolicy)
	n.in("proxy", func() { p = w.startFile(filepath.Dir(config), []string{"run", "--config", config}) })
	p.proxy = "10.78.0.2:3128"
	tunnel := func() (r reply, err error) {
		n.in("client", func() {
			var c net.Conn
			if c, err = net.DialTimeout("tcp", p.proxy, patience); err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(c, "CONNECT 10.78.0.3:7 HTTP/1.1\r\nHost: x\r\n\r\n")
			br := bufio.NewReader(c)
			r.Response, err = http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
			r.conn, r.from = &readAhead{c, br}, c.LocalAddr().String()
		})
		return r, err
	}
	drop := "table ip silent { chain in { type filter hook input priority 0; tcp sport != 0 drop; }; chain out { type filter hook output priority 0; tcp sport != 0 drop; }; }\n"
	for _, row := range []struct {
		what       string
		gone, back func()
	}{
		{"the client's packets are dropped", func() { n.nft("client", drop) }, func() { n.nft("client", "delete table ip silent\n") }},
		{"the origin's packets are dropped", func() { n.nft("origin", drop) }, func() { n.nft("origin", "delete table ip silent\n") }},
		{"the origin's address is gone", func() { n.ip("-n", n.name("origin"), "addr", "del", "10.78.0.3/16", "dev", "eth0") },
			func() { n.ip("-n", n.name("origin"), "addr", "add", "10.78.0.3/16", "dev", "eth0") }},
	} {
		// On a busy machine it can be idle before it has been used.
		var r reply
		w.eventually("a tunnel is there", func() (there bool) {
			var err error
			r, err = tunnel()
			w.must(err)
			if there = r.StatusCode == http.StatusOK && echoes(r.conn) == nil; !there {
				_ = r.conn.Close()
			}
			return there
		})
		row.gone()
		// What is under way when it happens is never acknowledged.
		_, _ = r.conn.Write([]byte("nobody hears this"))
		var last record
		w.eventually(row.what+": the end", func() bool {
			for _, last = range p.of("closed") {
				if last.Client == r.from {
					return true
				}
			}
			return false
		})
		if last.Ended != "idle" {
			t.Errorf("%s: ended as %q", row.what, last.Ended)
		}
		row.back()
		_ = r.conn.Close()
	}
	n.ip("-n", n.name("origin"), "addr", "del", "10.78.0.3/16", "dev", "eth0")
	r, err := tunnel()
	if err == nil && r.StatusCode != http.StatusGatewayTimeout && r.StatusCode != http.StatusBadGateway {
		err = fmt.Errorf("status %s", r.Status)
	}
	if err != nil {
		t.Errorf("a dial to an origin that is gone: %v", err)
	}
}

// A source may have sixteen connections that have not shown who they are. Eight
// that show it in many pieces are eight, and none is put out for the others.
func TestHeadInPiecesTakesOnePlace(t *testing.T) {
	w := newWorld(t)
	target := w.echoing()
	// How long the pieces take is this machine's doing.
	p := w.startUnder("ulimit -n 256", abusePolicy+"limits: {header_timeout: 10m}\n")
	request := connectLine("billing", target)
	const pieces = 8
	var all []net.Conn
	for range 8 {
		c := p.openConns(1, "")[0]
		for i := range pieces {
			_, err := io.WriteString(c, request[i:i+1])
			w.must(err)
			w.eventually("the piece is read", func() bool { return unread(t, p.proxy) == 0 })
		}
		all = append(all, c)
	}
	for _, c := range all {
		_, err := io.WriteString(c, request[pieces:])
		w.must(err)
	}
	if got := answersOf(all, patience); got["200"] != len(all) {
		t.Errorf("of %d clients: %v", len(all), got)
	}
	if n := p.number("egress_unidentified_closed_total"); n != 0 {
		t.Errorf("%v were put out", n)
	}
}
