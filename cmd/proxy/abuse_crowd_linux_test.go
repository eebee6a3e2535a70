package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// crowdWildcards is how many wildcards there are of which each caller that means well
// takes one at a time.
const crowdWildcards = 300

// crowding is the program with those that crowd it.
type crowding struct {
	*running
	last      time.Duration // each attack
	compares  bool          // what well-behaved callers wait is measured always
	targets   map[string]string
	wildcards int // those that have been taken
}

// crowdingRow is one way to take what all share.
type crowdingRow struct {
	what   string
	honest string // what the caller does that could be harmed: "connect", "get", "lookup" or "all"
	byName bool   // its CONNECTs are to new names
	bound  string // the row of package bounds that it is over its share of; "": it does not get there
	orders []*order
}

// crowdingPolicy lets "billing" and "calm" reach what answers, and "greedy" what does not.
func crowdingPolicy() string {
	var names strings.Builder
	for i := range crowdWildcards {
		fmt.Fprintf(&names, "      - {host: '*.h%d.test', ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}\n", i)
	}
	good := "    allow:\n      - {cidr: 127.0.0.1/32, ports: [${echo}, ${web}], tls: any}\n"
	return withDNS("", `limits: {idle_timeout: 5s, dial_timeout: 2s}
functions:
  billing:
    identify: {${token_billing}}
`+good+names.String()+`  calm:
    identify: {${token_calm}}
`+good+`  greedy:
    identify: {${token_greedy}}
    allow:
      - {host: mute.test, ports: [${mute}], tls: any, addresses: [127.0.0.0/8]}
      - {host: dead.test, ports: [${deaf}], tls: any, addresses: [127.0.0.0/8]}
      - {host: '*.many.test', tls: any, addresses: [127.0.0.0/8]}
      - '*.silent.test'
      - silence.test
`)
}

// crowdingRows is the ways, and the last of them all at once.
func (c *crowding) rows() []crowdingRow {
	sources := func(net string, n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("127.%s.%d.%d", net, i/200, 2+i%200))
		}
		return all
	}
	var fields strings.Builder
	for i := range 2600 {
		fmt.Fprintf(&fields, "%c%c:\r\n", '0'+i/26%10, 'a'+i%26)
	}
	long := "X-Padding: " + strings.Repeat("x", 15<<10) + "\r\n"
	greedy := authorization("greedy")
	mute := "mute.test:" + c.world.vars["mute"]
	get := "GET http://" + mute + "/ HTTP/1.1\r\nHost: " + mute + "\r\n" + greedy
	leave := func(text string, from []string) []*order {
		return []*order{{Kind: "leave", Proxy: c.proxy, Sources: from, Text: text, Most: 8000, Rate: crowdingRate}}
	}
	refused := leave("CONNECT evil.test:443 HTTP/1.1\r\n"+greedy+long+"\r\n", sources("0", 2))
	refused[0].Rate = refusedRate
	ask := func(name string, from []string) []*order {
		return []*order{{Kind: "ask", DNS: c.dns, Sources: from, Text: name, Most: 128, Rate: crowdingRate}}
	}
	rows := []crowdingRow{
		{"refused heads, left open", "connect", false, "lingering", refused},
		{"plain requests to a host that does not answer", "get", false, "memory", leave(get+long+"\r\n", sources("0", 2))},
		{"requests of many fields", "get", false, "", leave(get+fields.String()+"\r\n", sources("0", 2))},
		{"silence of many sources", "connect", false, "unidentified", leave("", sources("0", 8))},
		{"half a head", "connect", false, "unidentified", leave(get+long, sources("0", 2))},
		{"challenges, left open", "connect", false, "lingering", leave("CONNECT evil.test:443 HTTP/1.1\r\n"+long+"\r\n", sources("0", 2))},
		{"names that nobody answers", "connect", true, "lookups", leave("CONNECT n{n}.silent.test:443 HTTP/1.1\r\n"+greedy+"\r\n", sources("0", 2))},
		{"one name that nobody answers", "lookup", false, "dns_questions", ask("silence.test", sources("2", 1))},
		{"a host that is dead", "connect", false, "dials", leave("CONNECT dead.test:"+c.world.vars["deaf"]+" HTTP/1.1\r\n"+greedy+"\r\n", sources("0", 2))},
		{"idle connections to the filter", "lookup", false, "dns_connections", []*order{{Kind: "leave", DNS: c.dns, Sources: sources("2", 3), Most: 4000, Rate: crowdingRate}}},
		{"questions that are refused", "lookup", false, "dns_refusals", ask("evil.test", sources("2", 1))},
		{"names of many sources", "lookup", false, "", ask("n{n}.many.test", sources("3", 2000))},
	}
	all := crowdingRow{what: "all at once", honest: "all", byName: true}
	for _, row := range rows {
		all.orders = append(all.orders, row.orders...)
	}
	return append(rows, all)
}

// beside returns how long each use of the program takes its caller, and what the crowd
// has sent in a second meanwhile.
func (c *crowding) beside(t *testing.T, row crowdingRow, all []*order) (times []time.Duration, rate float64) {
	t.Helper()
	began := time.Now()
	var failures []error
	sent := c.world.besides(all, func() {
		wildcard := c.wildcard()
		var mu sync.Mutex
		var asking sync.WaitGroup
		ticker := time.NewTicker(crowdingPause)
		defer ticker.Stop()
		for n := range max(200, int(c.last/crowdingPause)) {
			what := row.honest
			if what == "all" {
				what = []string{"connect", "get", "lookup"}[n%3]
			}
			target := c.targets[what]
			switch name := fmt.Sprintf("n%d.%s", n%900, wildcard); {
			case what == "lookup":
				target = name
			case what == "connect" && row.byName:
				target = name + ":" + c.world.vars["echo"]
			}
			// Whoever waits long keeps nobody else from asking meanwhile.
			asking.Go(func() {
				start := time.Now()
				err := c.take(what, "127.0.0.1", "billing", target)
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Since(start))
				if err != nil {
					failures = append(failures, err)
				}
			})
			<-ticker.C
		}
		asking.Wait()
	})
	took := time.Since(began)
	if len(failures) > 0 {
		t.Errorf("%s: %d of %d of another function fail, the first by: %v", row.what, len(failures), len(times), failures[0])
	}
	for _, n := range sent {
		rate += n / took.Seconds()
	}
	return times, rate
}

// wildcard returns the part of names that is below a wildcard nobody has used.
func (c *crowding) wildcard() string {
	c.wildcards++
	return fmt.Sprintf("h%d.test", c.wildcards%crowdWildcards)
}

// calm is as many that ask as often for what they may have.
func (c *crowding) calm(row crowdingRow, rate float64) (all []*order) {
	kinds := []string{row.honest}
	if row.honest == "all" {
		kinds = []string{"connect", "get", "lookup"}
	}
	for _, kind := range kinds {
		text := c.targets[kind]
		if kind == "lookup" {
			text = "n{few}." + c.wildcard()
		}
		all = append(all, &order{
			Kind: kind, Proxy: c.proxy, DNS: c.dns, Sources: []string{"127.0.9.1", "127.0.9.2"}, Text: text,
			Most: 64, Rate: rate / float64(len(kinds)),
		})
	}
	return all
}

const (
	// crowdingPause is that between two callers that mean well.
	crowdingPause = 4 * time.Millisecond
	// crowdingRate is how much a crowd sends in a second at most, in each way, and
	// refusedRate how many heads that are refused: what is more than the machine can
	// accept waits in the kernel, where all wait for each other.
	crowdingRate = 3000
	refusedRate  = 6000
	// crowdingFloor is how long a caller may wait beside a crowd, whatever it waits beside
	// others: a busy machine gives nobody a turn at once.
	crowdingFloor = 100 * time.Millisecond
	// crowdingRatio is how much longer it may wait beside a crowd than beside as many that
	// mean well.
	crowdingRatio = 3
)

// fair fails where a caller that means well is refused beside a crowd, or waits much longer
// than beside as many that ask for what they may have.
func (c *crowding) fair(t *testing.T, row crowdingRow, goroutines, files float64) {
	const tries = 3
	for try := 1; ; try++ {
		times, rate := c.beside(t, row, row.orders)
		bad := quantile(times, 0.99)
		t.Logf("beside %.0f/s: p50 %v, p99 %v, most %v", rate, quantile(times, 0.5), bad, quantile(times, 1))
		if t.Failed() || row.honest == "all" || bad <= crowdingFloor && !c.compares {
			return // all at once take both processors: nobody is refused, and how long they wait is theirs
		}
		c.world.eventually("the crowd has gone", func() bool {
			return c.hasNoMoreThan(goroutines, files)
		})
		calm, rate := c.beside(t, row, c.calm(row, rate))
		good := quantile(calm, 0.99)
		t.Logf("beside %.0f/s that mean well: p50 %v, p99 %v, most %v", rate, quantile(calm, 0.5), good, quantile(calm, 1))
		if bad <= max(crowdingFloor, crowdingRatio*good) {
			return
		}
		if try == tries {
			t.Errorf("a caller waits %v, and %v beside as many that mean well", bad, good)
			return
		}
	}
}

// crowdingLasts returns how long each attack lasts, and whether what callers wait is
// compared where nobody has waited long. The record that refusals share is written after
// a second.
func crowdingLasts(t *testing.T) (last time.Duration, compares bool) {
	s := os.Getenv("EGRESS_TEST_CROWD")
	if s == "" {
		return 1500 * time.Millisecond, false
	}
	last, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return last, true
}

// The task has 256 MB or 512 MB, and may open 20,000 files. A crowd, which has one
// processor, takes what all share in one way after the other, then in all of them at
// once. Another function is never refused, and beside each of them waits no tenth of a
// second, or little longer than it does beside as many that ask for what they may have.
//
// EGRESS_TEST_CROWD=60s makes each attack last that long instead of a second and a half,
// and compares always.
func TestFunctionThatHoldsWhatItCanCostsAnotherNothing(t *testing.T) {
	needsFiles(t, 20000)
	for _, megabytes := range []int{256, 512} {
		t.Run(fmt.Sprintf("%d MB", megabytes), func(t *testing.T) { testCrowding(t, megabytes) })
	}
}

// metricOf returns the series that counts those who are over their share of a row; "": none.
func metricOf(bound string) string {
	for _, b := range bounds.All {
		switch {
		case b.Name != bound:
		case b.Metric == "egress_over_share_total":
			return fmt.Sprintf("%s{share=%q}", b.Metric, bound)
		default:
			return b.Metric
		}
	}
	return ""
}

func testCrowding(t *testing.T, megabytes int) {
	enter, kills := memoryGroupOf(t, megabytes<<20)
	w := newWorld(t)
	target := w.echoing()
	w.vars["mute"] = port(w.listen(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	w.vars["deaf"] = deaf(t)
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(web.Close)
	w.vars["web"] = port(web.Listener)
	for _, name := range []string{"mute.test", "dead.test", "*.many.test"} {
		w.names.set(name, "127.0.0.1")
	}
	for i := range crowdWildcards {
		w.names.set(fmt.Sprintf("*.h%d.test", i), "127.0.0.1")
	}
	w.names.set("silence.test", silence)
	w.names.set("*.silent.test", silence)
	p := w.startUnder(enter+"\nulimit -n 20000", crowdingPolicy())
	last, compares := crowdingLasts(t)
	c := &crowding{running: p, last: last, compares: compares, targets: map[string]string{"connect": target, "get": web.Listener.Addr().String()}}
	goroutines, files := p.holds(target)
	for _, row := range c.rows() {
		t.Run(row.what, func(t *testing.T) {
			metric := metricOf(row.bound)
			before := p.number(metric)
			c.fair(t, row, goroutines, files)
			if metric != "" && p.number(metric) == before {
				t.Errorf("%s does not count those who are over their share", metric)
			}
		})
		held := (p.number("go_memstats_heap_inuse_bytes") + p.number("go_memstats_stack_inuse_bytes")) / (1 << 20)
		if most := 0.7 * float64(megabytes); held > most {
			t.Errorf("%s: %.0f MB are in use, more than that from which on everybody is refused", row.what, held)
		}
	}
	if n := kills(); n != "0" {
		t.Errorf("the kernel has killed: %s", n)
	}
	p.unharmed(goroutines, files, target)
	p.finish()
	told := map[any]bool{}
	for _, line := range p.logs() {
		if line["msg"] == bounds.OverShare {
			told[line["share"]] = true
		}
	}
	for _, row := range c.rows() {
		if row.bound != "" && !told[row.bound] {
			t.Errorf("%s: nothing says who is over its share of %s", row.what, row.bound)
		}
	}
}
