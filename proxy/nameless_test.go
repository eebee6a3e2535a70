package proxy_test

import (
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// What an operator needs to find who it is, or what has failed, is in the record: whose
// name was shown with a credential that does not hold, why a dial failed, what there was
// too little of.
func TestRecordsNameWhoAndWhatIsBehindARefusal(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	rules := []rule{{host: "*.test", ports: []uint16{o.port}, any: true, addresses: loopback}}
	for _, loop := range []bool{true, false} {
		r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: rules}}, limits: proxy.Limits{TunnelsPerFunction: 1}})
		if !loop {
			defer r.serveByGoroutines()()
		}
		r.resolves("good.test", "127.0.0.1")
		r.resolves("dead.test", "127.0.0.77") // where nobody listens
		ask := func(function, secret, host string) reply {
			t.Helper()
			return r.ask(strings.Replace(connectAs(function, o.at(host)), auth(function), credential(function+":"+secret), 1))
		}
		ask("billing", "an old one", "good.test")
		ask("nobody-here", "any", "good.test")
		r.ask(connectAs("billing", o.at("dead.test")))
		c, br := r.send(connectAs("billing", o.at("good.test")))
		wantEstablished(t, br)
		r.ask(connectAs("billing", o.at("good.test")))
		_ = c.Close()
		var got []string
		for _, m := range r.of("refused") {
			words := []string{text(m["reason"])}
			for _, key := range []string{"claimed", "dial_error", "shed"} {
				if v, ok := m[key]; ok {
					words = append(words, key+" "+text(v))
				}
			}
			got = append(got, strings.Join(words, ", "))
		}
		want := "identity_rejected, claimed billing; identity_rejected; dial_failed, dial_error refused; limit_function, shed function"
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("records: %s\nwant: %s", s, want)
		}
		claimed := map[string]float64{}
		r.eachSeries("egress_identity_rejected_total", func(labels map[string]string, n float64) { claimed[labels["claimed"]] = n })
		if claimed["billing"] != 1 || claimed[""] != 1 || len(claimed) != 2 {
			t.Errorf("counted: %v", claimed)
		}
	}
}
