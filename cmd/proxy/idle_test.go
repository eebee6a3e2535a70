package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// A client whose tunnel is idle too long finds an end, before a balancer drops the flow
// without a word, and no reset: in the clear a FIN, by TLS a close_notify before it.
func TestIdleTunnelEndsInOrderForItsClient(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	dir := t.TempDir()
	policy := w.withCertificate(dir, egresstest.SelfSigned(t, "proxy.test"))
	w.write(dir+"/egress.yaml", strings.Replace(policy, "functions:", "limits: {idle_timeout: 1s}\nfunctions:", 1))
	p := w.startFile(dir, []string{"run", "--config", dir + "/egress.yaml"})
	plain, err := net.Dial("tcp", p.proxy)
	w.must(err)
	certificate, err := os.ReadFile(dir + "/cert.pem")
	w.must(err)
	trusted := w.roots.Clone()
	trusted.AppendCertsFromPEM(certificate)
	byTLS := ""
	for _, line := range p.logs() {
		if line["msg"] == "serving" {
			byTLS, _ = line["tls"].(string)
		}
	}
	encrypted, err := tls.Dial("tcp", byTLS, &tls.Config{RootCAs: trusted, ServerName: "proxy.test"})
	w.must(err)
	for name, c := range map[string]net.Conn{"in the clear": plain, "by TLS": encrypted} {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err := io.WriteString(c, connectLine("billing", "before.test:"+w.vars["echo"]))
		w.must(err)
		in := bufio.NewReader(c)
		answer, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: CONNECT got %v and %v", name, answer, err)
		}
		_, err = io.WriteString(c, "x")
		w.must(err)
		if b, err := in.ReadByte(); b != 'x' || err != nil {
			t.Fatalf("%s: the echo is %q and %v", name, b, err)
		}
		if b, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%s: the idle tunnel gave %q and %v, want an end", name, b, err)
		}
	}
	w.eventually("both ended as idle", func() bool { return p.ended()["idle"] == 2 })
	if n := p.metric(`egress_tunnels_dead_reuse_total{function="billing"}`); n != "0" {
		t.Errorf("%s dead reuses, and nobody has written into anything", n)
	}
}

// A pool that has not seen the end of its connection, such as that of a function which
// was frozen, loses a request; the metrics say so, by function. A goodbye is none.
func TestRequestsIntoTunnelsWhoseOriginHasGoneAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vars["echo"] = port(w.listen(func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 4)) })) // then it closes
	w.names.set("before.test", "127.0.0.1")
	p := w.start(only("before.test"))
	const series = `egress_tunnels_dead_reuse_total{function="billing"}`
	// reuse lets an origin go, waits for longer than the proxy takes to look at its tunnels,
	// and writes into them.
	reuse := func(n, bytes int) {
		var open []net.Conn
		for range n {
			r := p.connect("billing", "before.test:"+w.vars["echo"])
			if r.conn == nil {
				t.Fatalf("CONNECT got %v", r.Status)
			}
			_, err := io.WriteString(r.conn, "ping")
			w.must(err)
			if b, err := io.ReadAll(r.conn); err != nil || len(b) > 0 {
				t.Fatalf("behind the origin's end came %q and %v", b, err)
			}
			open = append(open, r.conn)
		}
		time.Sleep(2500 * time.Millisecond)
		for _, c := range open {
			_, _ = c.Write(make([]byte, bytes))
			_ = c.Close()
		}
		w.eventually("all have ended", func() bool { return p.metric(`egress_tunnels{function="billing"}`) == "0" })
	}
	reuse(3, 31)
	if n := p.metric(series); n != "0" {
		t.Errorf("%s dead reuses for goodbyes, want 0", n)
	}
	w.eventually("a request is counted", func() bool { reuse(3, 200); return p.number("egress_tunnels_dead_reuse_total") > 0 })
}
