package proxy_test

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"testing"
)

// Each step of a CONNECT is measured by how it ended, by both drivers: an operator whose
// dials all fail does not look at a figure of those that did not.
func TestEachStepIsMeasuredHoweverItEnds(t *testing.T) {
	t.Parallel()
	for _, loop := range []bool{true, false} {
		o := newOrigin(t, echo)
		rules := []rule{{host: "*.test", ports: []uint16{o.port}, any: true, addresses: loopback}}
		r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: rules}}})
		if !loop {
			defer r.serveByGoroutines()()
		}
		r.resolves("good.test", "127.0.0.1")
		r.resolves("dead.test", "127.0.0.77") // where nobody listens
		r.names.Store("mute.test", timeoutError{})
		for _, host := range []string{"good.test", "dead.test", "gone.test", "mute.test", "evil.example"} {
			c, br := r.send(connectAs("billing", o.at(host)))
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		want := map[string]uint64{
			"resolve ok": 2, "resolve failed": 1, "resolve timeout": 1,
			"dial ok": 1, "dial failed": 1,
			"record ok": 5,
			"total ok":  1, "total failed": 2, "total timeout": 1, "total refused": 1,
		}
		eventually(t, "each step is counted", func() bool { return maps.Equal(r.setUps(), want) })
	}
}

// So are those of a plain request; the origin's own time is no part of them.
func TestEachStepOfAPlainRequestIsMeasured(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		_ = c.Close()
	})
	rules := []rule{{host: "*.test", ports: []uint16{o.port}, any: true, addresses: loopback}}
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: rules}}})
	r.resolves("good.test", "127.0.0.1")
	r.resolves("dead.test", "127.0.0.77") // where nobody listens
	for _, host := range []string{"good.test", "dead.test", "evil.example"} {
		at := o.at(host)
		r.ask("GET http://" + at + "/ HTTP/1.1\r\nHost: " + at + "\r\nConnection: close\r\n" + auth("billing") + "\r\n")
	}
	want := map[string]uint64{
		"resolve ok": 2, "dial ok": 1, "dial failed": 1, "record ok": 4, // of what is permitted before the dial fails, two
		"total ok": 1, "total failed": 1, "total refused": 1,
	}
	eventually(t, "each step is counted", func() bool { return maps.Equal(r.setUps(), want) })
}

// setUps returns how often a step ended in an outcome, where that is not never.
func (r *rig) setUps() map[string]uint64 {
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "egress_setup_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if n := m.GetHistogram().GetSampleCount(); n > 0 {
				counts[labels["step"]+" "+labels["outcome"]] = n
			}
		}
	}
	return counts
}
