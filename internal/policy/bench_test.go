package policy_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// benchPattern is the i-th pattern of a large file: one in eight is a
// wildcard, and wildcards have two, three and four labels.
func benchPattern(i int) string {
	switch i % 24 {
	case 7:
		return fmt.Sprintf("*.tenant-%d.example", i)
	case 15:
		return fmt.Sprintf("*.tenant-%d.eu.example", i)
	case 23:
		return fmt.Sprintf("*.tenant-%d.eu-west-1.cloud.example", i)
	default:
		return fmt.Sprintf("api.service-%d.customers.example", i)
	}
}

// benchSpec is one function with n host rules and no deny line.
func benchSpec(n int) policy.Spec {
	conditions := &policy.Conditions{Ports: hostname.Ports(443)}
	rules := make([]policy.RuleSpec, n)
	for i := range rules {
		rules[i] = policy.RuleSpec{Pattern: mustPattern(benchPattern(i)), Conditions: conditions, Line: i}
	}
	return policy.Spec{Functions: []policy.FunctionSpec{{Name: "f", Rules: rules}}}
}

// benchKeys are requests of one kind for benchSpec(n), and beside each the key
// that a plain map of the same patterns would be asked for.
type benchKeys struct {
	kind    string
	want    verdict.Verdict
	targets []hostname.Target
	keys    []string
}

// add adds a request for a host.
func (q *benchKeys) add(host, key string) {
	q.targets = append(q.targets, mustTarget(host+":443"))
	q.keys = append(q.keys, key)
}

// benchRequests spreads up to 65,536 requests of each kind over the whole table.
func benchRequests(n int) []benchKeys {
	const most = 1 << 16
	hostile := strings.Repeat("a.", 126) + "a"
	hit := benchKeys{kind: "hit", want: verdict.Allow}
	wild := benchKeys{kind: "wildcard", want: verdict.Allow}
	miss := benchKeys{kind: "miss"}
	evil := benchKeys{kind: "hostile"}
	evil.add(hostile, hostile)
	rng := rand.New(rand.NewPCG(1, 2))
	for len(miss.keys) < most && len(miss.keys) < n {
		i := rng.IntN(n)
		absent := fmt.Sprintf("api.service-%d.strangers.example", i)
		miss.add(absent, absent)
		if name, wildcard := strings.CutPrefix(benchPattern(i), "*."); !wildcard {
			hit.add(name, name)
		}
		i = i/8*8 + 7 // a wildcard
		if name, _ := strings.CutPrefix(benchPattern(i), "*."); i < n {
			wild.add("queue."+name, "*."+name)
		}
	}
	if len(wild.targets) == 0 {
		wild.add("queue.tenant-7.example", "*.tenant-7.example")
	}
	return []benchKeys{hit, wild, miss, evil}
}

var benchSizes = []int{10, 1_000, 100_000, 1_000_000}

// BenchmarkDecide measures one decision against one function with that many
// rules, and beside it (of=map) the one lookup in a map[string]struct{} of the
// same patterns that an ideal matcher would cost. Requests are spread over the
// table at random, so that large tables are read from memory, not from the
// nearest cache, and an atomic addition stands between them, so that the
// processor does not begin the next while one waits for memory: it is the time
// that a request alone would see. It leaves out the parsing of the target and the record.
func BenchmarkDecide(b *testing.B) {
	for _, n := range benchSizes {
		spec := benchSpec(n)
		p, err := policy.Compile(spec)
		if err != nil {
			b.Fatal(err)
		}
		plain := make(map[string]struct{}, n)
		for _, r := range spec.Functions[0].Rules {
			plain[r.Pattern.String()] = struct{}{}
		}
		for _, q := range benchRequests(n) {
			b.Run(fmt.Sprintf("rules=%d/kind=%s/of=decide", n, q.kind), func(b *testing.B) { benchDecide(b, p, q) })
			b.Run(fmt.Sprintf("rules=%d/kind=%s/of=map", n, q.kind), func(b *testing.B) { benchMap(b, plain, q) })
		}
	}
}

// benchDecide decides the requests round and round.
func benchDecide(b *testing.B, p *policy.Policy, q benchKeys) {
	f, now, at := p.Function("f"), time.Unix(1_800_000_000, 0), 0
	var fence atomic.Int64
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(f, q.targets[at], now); d.Verdict != q.want {
			b.Fatalf("%s: %s", q.targets[at], d.Verdict)
		}
		fence.Add(1)
		if at++; at == len(q.targets) {
			at = 0
		}
	}
}

// benchMap looks the keys up round and round.
func benchMap(b *testing.B, plain map[string]struct{}, q benchKeys) {
	at, want := 0, q.want == verdict.Allow
	var fence atomic.Int64
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := plain[q.keys[at]]; ok != want {
			b.Fatal(q.keys[at])
		}
		fence.Add(1)
		if at++; at == len(q.keys) {
			at = 0
		}
	}
}

// BenchmarkDecideLiteral measures a decision on an address against cidr rules
// of four prefix lengths. It leaves out the check of the address itself.
func BenchmarkDecideLiteral(b *testing.B) {
	spec := oneFunction(
		cidr("10.0.0.0/8", 443), cidr("10.1.0.0/16", 80), cidr("203.0.113.0/24", 443), cidr("2001:db8::/32", 443))
	p := mustCompile(b, spec)
	f, now := p.Function("f"), time.Unix(1_800_000_000, 0)
	targets := []hostname.Target{mustTarget("10.1.2.3:443"), mustTarget("[2001:db8::1]:443"), mustTarget("192.0.2.1:443")}
	at := 0
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(f, targets[at], now)
		if at++; at == len(targets) {
			at = 0
		}
	}
}

// BenchmarkCompile measures the compilation of one function with that many
// rules, and what the compiled policy keeps alive for each rule beyond the
// text of the pattern. It leaves out reading and parsing the file.
func BenchmarkCompile(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			spec := benchSpec(n)
			text := 0
			for _, r := range spec.Functions[0].Rules {
				text += len(r.Pattern.Name().String())
			}
			var p *policy.Policy
			b.ReportAllocs()
			for b.Loop() {
				p = mustCompile(b, spec)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/rule")
			b.ReportMetric(beyondText(spec, text)/float64(n), "B/rule-beyond-text")
			runtime.KeepAlive(p)
		})
	}
}

// beyondText compiles the spec between two collections and returns the bytes
// that the policy keeps alive, less the text of its patterns.
func beyondText(spec policy.Spec, text int) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p, err := policy.Compile(spec)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(spec)
	runtime.KeepAlive(p)
	if err != nil {
		return 0
	}
	return float64(int64(after.HeapAlloc) - int64(before.HeapAlloc) - int64(text))
}
