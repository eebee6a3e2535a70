package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// Names below a wildcard are questions to whoever has it, so each front counts them
// before it looks one up, and all fronts together: a function gets no more by going
// round. An event loop serves the first listener, goroutines the second.
func TestNamesBelowAWildcardAreLimitedByEveryDriver(t *testing.T) {
	o := newOrigin(t, func(c net.Conn) { c.Close() })
	for _, driver := range []struct {
		name string
		tls  *tls.Config
	}{{"loop", nil}, {"goroutine", newAuthority(t).listener(tls.NoClientCert)}} {
		for _, form := range []string{"connect", "plain", "both"} {
			t.Run(driver.name+" "+form, func(t *testing.T) {
				const limit = 4
				open := func(name string) function {
					return function{name: name, rules: []rule{
						{host: "own.many.test", ports: []uint16{1}, any: true, addresses: loopback},
						{host: "*.many.test", ports: []uint16{o.port}, any: true, addresses: loopback},
					}}
				}
				r := newRig(t, rigOptions{tls: driver.tls, functions: []function{open("billing"), open("other")}, options: func(opt *proxy.Options) {
					opt.Names = distinct.New(distinct.Options{Limit: limit})
				}})
				ask := func(function, name string, i int) (status int, reason string) {
					target := o.at(name)
					r.resolves(name, "127.0.0.1")
					request := connectAs(function, target)
					if form == "plain" || form == "both" && i%2 == 0 {
						request = "GET http://" + target + "/ HTTP/1.1\r\nHost: " + target + "\r\n" + auth(function) + "\r\n"
					}
					return r.statusOf(driver.tls != nil, request)
				}
				for i := range 20 {
					before := r.lookups.Load()
					status, reason := ask("billing", fmt.Sprintf("d%d.many.test", i), i)
					if limited := status == http.StatusTooManyRequests && reason == "limit_names"; limited != (i >= limit) {
						t.Errorf("name %d: %d, %q", i, status, reason)
					}
					if looked := r.lookups.Load() > before; looked != (i < limit) {
						t.Errorf("name %d: looked up %v", i, looked)
					}
				}
				for _, known := range []string{"d1.many.test", "own.many.test"} {
					if _, reason := ask("billing", known, 0); reason == "limit_names" {
						t.Errorf("%s, which is known or has a rule itself, is limited", known)
					}
				}
				if _, reason := ask("other", "d19.many.test", 1); reason == "limit_names" {
					t.Error("another function is limited")
				}
			})
		}
	}
}

// statusOf sends a request and returns the status, and the reason of a refusal.
func (r *rig) statusOf(secure bool, request string) (status int, reason string) {
	r.t.Helper()
	var c net.Conn = r.dial()
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.Close()
	return resp.StatusCode, resp.Header.Get("X-Egress-Reason")
}
