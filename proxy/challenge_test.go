package proxy_test

import (
	"maps"
	"testing"
)

// Java and .NET ask without a credential first and come back with one: that is an answer,
// whoever drives the request, and a wrong one is another outcome.
func TestChallengesAreCountedByWhatTheirSourceComesBackWith(t *testing.T) {
	t.Parallel()
	for _, loop := range []bool{true, false} {
		o := newOrigin(t, echo)
		r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{{host: "*.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}}})
		if !loop {
			defer r.serveByGoroutines()()
		}
		r.resolves("good.test", "127.0.0.1")
		at := o.at("good.test")
		bare := "CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\n\r\n"
		for _, asked := range []string{bare, connectAs("billing", at), bare, connectAs("nobody", at), bare, "GET http://" + at + "/ HTTP/1.1\r\nHost: " + at + "\r\n\r\n", connectAs("billing", at), connectAs("billing", at), connectAs("billing", at)} {
			c, br := r.send(asked)
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		got := map[string]float64{}
		r.eachSeries("egress_challenges_total", func(labels map[string]string, n float64) { got[labels["outcome"]] = n })
		if want := map[string]float64{"answered": 3, "rejected": 1, "unanswered": 0}; !maps.Equal(got, want) {
			t.Errorf("loop %v: %v, want %v", loop, got, want)
		}
	}
}
