package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// bytesCounted returns what egress_bytes_total says of each direction.
func (r *rig) bytesCounted() (up, down float64) {
	r.t.Helper()
	r.eachSeries("egress_bytes_total", func(labels map[string]string, n float64) {
		if labels["direction"] == "up" {
			up += n
		} else {
			down += n
		}
	})
	return up, down
}

// bytesRecorded returns what the records of what has ended add up to.
func (r *rig) bytesRecorded() (up, down float64) {
	for _, record := range r.of("closed") {
		up += record["bytes_up"].(float64)
		down += record["bytes_down"].(float64)
	}
	return up, down
}

// A tunnel may be open for hours: its bytes are known meanwhile, whoever drives it, and in
// the end they are those of the record.
func TestBytesOfAnOpenTunnelAreCountedOnceAndBeforeItEnds(t *testing.T) {
	t.Parallel()
	for _, loop := range []bool{true, false} {
		o := newOrigin(t, echo)
		r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{{host: "*.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}}})
		if !loop {
			defer r.serveByGoroutines()()
		}
		r.resolves("good.test", "127.0.0.1")
		c, br := r.send(connectAs("billing", o.at("good.test")))
		wantEstablished(t, br)
		sent := 0
		say := func(n int) {
			sent += n
			go func() { _, _ = io.WriteString(c, strings.Repeat("x", n)) }()
			if _, err := io.CopyN(io.Discard, br, int64(n)); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range []int{1, 10, 300_000, 5} { // the third leaves a loop
			say(n)
			eventually(t, fmt.Sprintf("%d bytes are counted, loop %v", sent, loop), func() bool {
				r.server.CountBytes()
				up, down := r.bytesCounted()
				return up == float64(sent) && down == float64(sent)
			})
			r.server.CountBytes() // once
		}
		say(7) // not counted by anybody yet
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, br)
		eventually(t, "it is recorded", func() bool { return len(r.of("closed")) == 1 })
		eventually(t, "the sums are the record's", func() bool {
			r.server.CountBytes()
			up, down := r.bytesCounted()
			recordedUp, recordedDown := r.bytesRecorded()
			return up == recordedUp && down == recordedDown && up == float64(sent)
		})
	}
}

// So is an answer that takes its time.
func TestBytesOfAnAnswerUnderWayAreCountedOnceAndBeforeItEnds(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(more) })
	r := newPlainRig(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello")
		<-more
		_, _ = io.WriteString(c, " hello!")
	})
	t.Cleanup(goOn) // before that of the origin, which waits
	_, br := r.send("GET http://" + r.host + "/ HTTP/1.1\r\nHost: " + r.host + "\r\nConnection: close\r\n" + auth("billing") + "\r\n")
	answer, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadFull(answer.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the beginning is counted", func() bool {
		r.server.CountBytes()
		_, down := r.bytesCounted()
		return down == 5
	})
	r.server.CountBytes()
	goOn()
	_, _ = io.Copy(io.Discard, answer.Body)
	eventually(t, "the sum is the record's", func() bool {
		r.server.CountBytes()
		_, down := r.bytesCounted()
		_, recorded := r.bytesRecorded()
		return down == recorded && down == 12
	})
}

// A function has its series from the load on, and has none once the policy has it no more.
func TestFunctionsOfThePolicyInForceHaveSeriesAndNoOthers(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	allow := []rule{{host: "*.test", ports: []uint16{o.port}, any: true, addresses: loopback}}
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: allow}, {name: "gone", rules: allow}}})
	r.resolves("good.test", "127.0.0.1")
	series := func(function string) map[string]float64 {
		all := map[string]float64{}
		for _, name := range []string{"egress_decisions_total", "egress_tunnels", "egress_tunnels_ended_total", "egress_tunnels_dead_reuse_total", "egress_bytes_total", "egress_identity_rejected_total"} {
			r.eachSeries(name, func(labels map[string]string, n float64) {
				if labels["function"] == function || labels["claimed"] == function {
					all[strings.Join(strings.Fields(fmt.Sprint(name, " ", labels["verdict"], " ", labels["reason"], " ", labels["direction"], " ", labels["ended"])), " ")] = n
				}
			})
		}
		return all
	}
	const allowed, refused = "egress_decisions_total allow", "egress_decisions_total deny host_not_allowed"
	for _, name := range []string{"billing", "gone"} {
		all := series(name)
		if _, there := all[refused]; !there || len(all) != 2+1+7+1+2+1 {
			t.Errorf("%s begins with %v", name, all)
		}
		for which, n := range all {
			if n != 0 {
				t.Errorf("%s begins with %s at %v", name, which, n)
			}
		}
	}
	c := r.standing(connectAs("gone", o.at("good.test")))
	r.setPolicy([]function{{name: "billing", rules: allow}, {name: "new", rules: allow}})
	eventually(t, "the function that is gone shows its open tunnel alone", func() bool {
		all := series("gone")
		return len(all) == 1 && all["egress_tunnels"] == 1
	})
	r.server.Rejudge()
	_, _ = io.Copy(io.Discard, c)
	eventually(t, "it has none", func() bool { return len(series("gone")) == 0 })
	if all := series("new"); len(all) != 14 {
		t.Errorf("the new one begins with %v", all)
	}
	r.setPolicy([]function{{name: "gone", rules: allow}})
	if all := series("gone"); len(all) != 14 || all[allowed] != 1 || all["egress_tunnels_ended_total revoked"] != 1 {
		t.Errorf("when it comes back it has %v", all)
	}
}
