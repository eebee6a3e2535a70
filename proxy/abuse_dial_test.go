package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// The bounds of a server that may have 128 tunnels or less.
const (
	dialsOfFunction = 32
	dialsToTarget   = 16
)

// stormRig has two functions that may reach hosts which answer no SYN, and one
// that does.
func stormRig(t *testing.T, o *origin, timeout time.Duration, deaf ...uint16) *rig {
	rules := []rule{{host: "*.deaf.test", ports: deaf, any: true, addresses: loopback}}
	good := rule{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}
	r := newRig(t, rigOptions{
		limits: proxy.Limits{Tunnels: 128, TunnelsPerFunction: 128, DialTimeout: timeout},
		functions: []function{
			{name: "billing", rules: append(rules, good)},
			{name: "reports", rules: append(rules, good)},
		},
	})
	r.resolves("any.test", "127.0.0.1")
	for i := range 50 {
		r.resolves(fmt.Sprintf("h%d.deaf.test", i), fmt.Sprintf("127.0.0.%d", 1+i))
		r.resolves(fmt.Sprintf("name%d.deaf.test", i), "127.0.0.1")
	}
	return r
}

// storm asks n times without waiting for the answers.
func (r *rig) storm(n int, request func(i int) string) (all []*net.TCPConn) {
	r.t.Helper()
	for i := range n {
		c, _ := r.send(request(i))
		all = append(all, c)
	}
	return all
}

// reasonsOf reads the answers and counts them by status and reason.
func reasonsOf(t *testing.T, conns []*net.TCPConn) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, c := range conns {
		got := readReply(t, bufio.NewReader(c))
		n[fmt.Sprintf("%d %s", got.StatusCode, got.reason())]++
		if got.StatusCode == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	return n
}

// A function that dials a host which does not answer is stopped at some dials,
// before the next one, in whatever way it asks; its other hosts and other
// functions are reached meanwhile, the same host included.
func TestStormOfDialsToAHostThatDoesNotAnswerIsBounded(t *testing.T) {
	o := newOrigin(t, echo)
	port, hear := deafListener(t)
	r := stormRig(t, o, 2*patience, port)
	before := hold()
	target := fmt.Sprintf("h0.deaf.test:%d", port)
	conns := r.storm(40, func(i int) string {
		if i%2 == 0 {
			return "GET http://" + target + "/ HTTP/1.1\r\nHost: " + target + "\r\n" + auth("billing") + "\r\n"
		}
		return connectAs("billing", target)
	})
	eventually(t, "the dials at their bound and the others refused", func() bool {
		return r.value("egress_dials") == dialsToTarget && len(r.of("refused")) == 40-dialsToTarget
	})
	isServed(t, r.dial(), o.at("any.test"))
	conns = append(conns, r.storm(1, func(int) string { return connectAs("reports", target) })...)
	eventually(t, "another function's dial", func() bool { return r.value("egress_dials") == dialsToTarget+1 })
	hear()
	got := reasonsOf(t, conns)
	if got["503 limit_function"] != 40-dialsToTarget || got["502 dial_failed"] != dialsToTarget+1 {
		t.Errorf("answers: %v", got)
	}
	if n := r.shed("dials"); n != 40-dialsToTarget {
		t.Errorf("%v counted as shed for dials", n)
	}
	closes(t, conns)
	r.unharmed(before, o.at("any.test"))
}

// Names below a wildcard make one host as many as one likes, and it counts as one: the
// other hosts of the function are dialed meanwhile.
func TestStormOfDialsToOneHostOfManyNamesLeavesRoomForOthers(t *testing.T) {
	o := newOrigin(t, echo)
	port, hear := deafListener(t)
	r := stormRig(t, o, 2*patience, port)
	before := hold()
	conns := r.storm(45, func(i int) string { return connectAs("billing", fmt.Sprintf("name%d.deaf.test:%d", i, port)) })
	eventually(t, "the host at its bound", func() bool {
		return r.value("egress_dials") == dialsToTarget && len(r.of("refused")) == 45-dialsToTarget
	})
	isServed(t, r.dial(), o.at("any.test"))
	closes(t, conns)
	hear()
	r.unharmed(before, o.at("any.test"))
}

// Hosts below a wildcard make as many targets as one likes.
func TestStormOfDialsToManyHostsIsBoundedByFunctionAndInAll(t *testing.T) {
	o := newOrigin(t, echo)
	port, hear := deafAt(t, [4]byte{})
	r := stormRig(t, o, 2*patience, port)
	before := hold()
	request := func(name string) func(int) string {
		return func(i int) string { return connectAs(name, fmt.Sprintf("h%d.deaf.test:%d", i, port)) }
	}
	conns := r.storm(45, request("billing"))
	eventually(t, "the function at its bound", func() bool {
		return r.value("egress_dials") == dialsOfFunction && len(r.of("refused")) == 45-dialsOfFunction
	})
	if n := r.shed("dials"); n != 45-dialsOfFunction {
		t.Errorf("%v counted as shed for dials", n)
	}
	c, br := r.send(connectAs("reports", o.at("any.test")))
	wantEstablished(t, br)
	closes(t, append(conns, c))
	hear()
	r.unharmed(before, o.at("any.test"))
}

// Clients that leave while their host is dialed leave nothing behind.
func TestClientsThatLeaveWhileAHostIsDialedLeaveNothingBehind(t *testing.T) {
	o := newOrigin(t, echo)
	port, _ := deafListener(t)
	r := stormRig(t, o, patience/3, port)
	before := hold()
	for range 20 {
		closes(t, r.storm(50, func(i int) string {
			if i%10 == 0 {
				return connectAs("billing", fmt.Sprintf("h%d.deaf.test:%d", i, port))
			}
			return connectAs("billing", o.at("any.test"))
		}))
	}
	asked := 20 * 50
	eventually(t, "a dial for nobody", func() bool {
		if r.value("egress_dials") > 0 {
			return true
		}
		closes(t, r.storm(1, func(int) string { return connectAs("billing", fmt.Sprintf("h0.deaf.test:%d", port)) }))
		asked++
		return false
	})
	eventually(t, "an answer or an end for each", func() bool {
		return len(r.of("opened"))+len(r.of("refused")) == asked && len(r.of("closed")) == len(r.of("opened"))
	})
	r.unharmed(before, o.at("any.test"))
}
