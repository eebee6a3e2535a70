package attempt

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// gate starts a proxy that answers each CONNECT with the status that status returns, and
// returns a prober for it. An allowed tunnel leads to allowed.test.
func gate(t *testing.T, user *url.Userinfo, status func(*http.Request) int) *Prober {
	t.Helper()
	ca := egresstest.NewAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("allowed.test")}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	egresstest.Serve(t, ln, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		code := status(r)
		fmt.Fprintf(c, "HTTP/1.1 %d Status\r\n\r\n", code)
		if code == 200 {
			_ = tls.Server(c, config).Handshake()
		}
	})
	proxy := &url.URL{Scheme: "http", Host: ln.Addr().String(), User: user}
	return &Prober{Proxy: proxy, Other: url.UserPassword("other", "x"), Timeout: 5 * time.Second, Roots: ca.Pool()}
}

// only is a plan of the control and of ways that ask the proxy.
func only(t *testing.T) []probe.Try {
	t.Helper()
	targets := probe.Targets{probe.RefusedName: {"refused.test:443"}}
	for i := range probe.Table {
		if row := &probe.Table[i]; row.Method != probe.MethodConnect {
			targets[row.Way] = []string{}
		}
	}
	tries, err := probe.Plan("allowed.test:443", targets)
	if err != nil {
		t.Fatal(err)
	}
	return tries
}

// class returns that of a way.
func class(t *testing.T, r *probe.Report, way probe.Way) probe.Class {
	t.Helper()
	for i := range r.Findings {
		if r.Findings[i].Way == way {
			return r.Findings[i].Class
		}
	}
	t.Fatalf("%s was not tried: %+v", way, r)
	return ""
}

// A helper beside the function, such as the Lambda extension, shows a credential of its own
// whatever it is given. That it gets through with another's is no hole of the gate's.
func TestAHelperThatAddsACredentialIsNotTakenForTheGate(t *testing.T) {
	t.Parallel()
	egresstest.NeedsLoopback(t)
	helper := gate(t, nil, func(r *http.Request) int {
		if r.Host == "allowed.test:443" {
			return 200
		}
		return 403
	})
	if r := helper.Probe(t.Context(), only(t), nil); r.Verdict != probe.Hole || class(t, r, probe.OtherCredential) != probe.Open {
		t.Errorf("without the gate's own address: %+v", r)
	}
	for code, want := range map[int]probe.Verdict{407: probe.Sound, 200: probe.Hole} {
		helper.Gate = gate(t, nil, func(r *http.Request) int {
			if r.Host == "allowed.test:443" {
				return code
			}
			return 502 // what is refused by name is not tried here
		}).Proxy
		r := helper.Probe(t.Context(), only(t), nil)
		if r.Verdict != want || len(r.Untried) != len(probe.Table)-3 {
			t.Errorf("the gate answers %d: %+v", code, r)
		}
	}
}

// A proxy that would have allowed a name, but whose dial failed, has refused nothing.
func TestFailureOfTheProxyIsNoRefusal(t *testing.T) {
	t.Parallel()
	egresstest.NeedsLoopback(t)
	for code, want := range map[int]probe.Verdict{403: probe.Sound, 407: probe.Sound, 502: probe.Unclear, 503: probe.Unclear, 302: probe.Unclear, 200: probe.Hole} {
		p := gate(t, url.UserPassword("fn", "secret"), func(r *http.Request) int {
			user, _, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
			switch {
			case user != "fn":
				return 407
			case r.Host == "allowed.test:443":
				return 200
			default:
				return code
			}
		})
		if r := p.Probe(t.Context(), only(t), nil); r.Verdict != want {
			t.Errorf("%d: %+v, want %s", code, r, want)
		}
	}
}

// Where the function is known by its address, a call without a credential is its own.
func TestNoCredentialIsNotTriedWhereThereIsNone(t *testing.T) {
	t.Parallel()
	egresstest.NeedsLoopback(t)
	p := gate(t, nil, func(r *http.Request) int {
		if r.Host == "allowed.test:443" && r.Header.Get("Proxy-Authorization") == "" {
			return 200
		}
		return 403
	})
	r := p.Probe(t.Context(), only(t), nil)
	if got := class(t, r, probe.NoCredential); r.Verdict != probe.Sound || got != probe.NotTried || len(r.Untried) == 0 {
		t.Errorf("%s, %+v", got, r)
	}
}

// A resolver that fails has refused nothing, and one that has no such name has.
func TestOnlyARefusalOfTheOwnResolverHolds(t *testing.T) {
	t.Parallel()
	egresstest.NeedsLoopback(t)
	for code, want := range map[dnsmessage.RCode]probe.Class{
		dnsmessage.RCodeServerFailure: probe.Captive, dnsmessage.RCodeNameError: probe.Held, dnsmessage.RCodeRefused: probe.Held, dnsmessage.RCodeSuccess: probe.Held,
	} {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			buf := make([]byte, 512)
			size, from, err := conn.ReadFrom(buf)
			var m dnsmessage.Message
			if err != nil || m.Unpack(buf[:size]) != nil {
				return
			}
			m.ID++ // a datagram of somebody who guesses is no answer
			m.Response = true
			guess, _ := m.Pack()
			m.ID, m.RCode = m.ID-1, code
			answer, _ := m.Pack()
			_, _ = conn.WriteTo(guess, from)
			_, _ = conn.WriteTo(answer, from)
		}()
		try := probe.Try{Way: probe.OwnResolver, Target: conn.LocalAddr().String(), Question: "refused.test", Method: probe.MethodDNSUDP}
		if f := (&Prober{Timeout: 5 * time.Second}).one(t.Context(), &try); f.Class != want {
			t.Errorf("%v: %+v, want %s", code, f, want)
		}
	}
}

// A machine that has no descriptor left has met no fence.
func TestWhatTheMachineLacksIsNoFence(t *testing.T) {
	t.Parallel()
	if !exhausted(&net.OpError{Op: "dial", Err: syscall.EMFILE}) || exhausted(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}) {
		t.Error("EMFILE is of the machine, ECONNREFUSED is not")
	}
}
