//go:build torture

package torture

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ports are where everything listens. They are the same for all rounds, so that
// a program that starts again is found again.
type ports struct {
	proxy, admin, dns  uint16 // the program
	upstream           uint16 // the DNS upstream
	tls, raw, web, off uint16 // of origins; off is in no rule
}

// world is everything around the program, and what it has written down in the
// current round.
type world struct {
	options  settings
	ports    ports
	dir      string // of the round's files
	policies []*variant

	origins  *origins
	upstream *upstream
	issuer   *issuer
	fetched  *fetchedIssuer
	toxic    *toxics
	timeline *timeline
	sink     *sink
	clients  *clients
}

// newWorld opens all listeners but the program's.
func newWorld(t testing.TB, o settings) (*world, error) {
	w := &world{options: o}
	if err := w.choosePorts(rand.New(rand.NewPCG(o.seed, 1))); err != nil {
		return nil, err
	}
	w.policies = w.variants()
	w.timeline = &timeline{}
	w.sink = &sink{}
	var err error
	if w.origins, err = newOrigins(w); err != nil {
		return nil, err
	}
	if w.upstream, err = newUpstream(w); err != nil {
		return nil, err
	}
	if w.issuer, err = newIssuer(awsAccount, awsIssuer, delta); err != nil {
		return nil, err
	}
	if w.fetched, err = newFetchedIssuer(t, w.timeline, w.issuer); err != nil {
		return nil, err
	}
	w.toxic, err = newToxics(w)
	return w, err
}

// close ends what newWorld began.
func (w *world) close() {
	w.toxic.close()
	w.fetched.close()
	w.upstream.close()
	w.origins.close()
}

// choosePorts finds ports below those that the kernel gives to connections, so
// that none is taken while the program is down. The time is in it so that two
// runs on one machine do not meet.
func (w *world) choosePorts(r *rand.Rand) error {
	p := &w.ports
	offset := time.Now().UnixNano() % 7000
	at := uint16(20000 + (int64(r.IntN(3000))+offset)%9000)
	for _, port := range []*uint16{&p.proxy, &p.admin, &p.dns, &p.upstream, &p.tls, &p.raw, &p.web, &p.off} {
		for tries := 0; ; tries++ {
			at++
			if free(at) {
				break
			}
			if tries > 2000 {
				return fmt.Errorf("finding free ports: none near %d", at)
			}
		}
		*port = at
	}
	return nil
}

// free reports whether a port is free for TCP and UDP on every address.
func free(port uint16) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	_ = l.Close()
	u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	_ = u.Close()
	return true
}

// tokenOf is the secret of a function.
func tokenOf(function string) string { return "torture-secret-of-" + function }

// policyFile writes a variant as a file. The serial makes every file another
// one, so that the hash in a record names the very write.
func (w *world) policyFile(v *variant, serial int, boot bootPlan) string {
	var b strings.Builder
	p := w.ports
	fmt.Fprintf(&b, "# write %d, variant %s\nversion: 1\n", serial, v.name)
	fmt.Fprintf(&b, "listen: {proxy: \"127.0.0.1:%d\", admin: \"127.0.0.1:%d\", dns: \"127.0.0.1:%d\", proxy_protocol_from: [%s]}\n", p.proxy, p.admin, p.dns, balancers)
	fmt.Fprintf(&b, "dns: {upstreams: [\"127.0.0.1:%d\"], families: ip4, clients: [127.0.0.0/8], record: all, distinct_names_per_minute: 1000000}\n", p.upstream)
	fmt.Fprintf(&b, "limits: {tunnels: 900, tunnels_per_function: 450, header_timeout: %s, dial_timeout: %s, hello_timeout: %s, idle_timeout: %s, drain: %s, refusal_records: %d}\n",
		headerTimeout, dialTimeout, helloTimeout, idleTimeout, drainTime, boot.refusalRecords)
	onFailure := "refuse"
	if boot.count {
		onFailure = "count"
	}
	fmt.Fprintf(&b, "audit: {output: %q, on_failure: %s}\n", boot.output, onFailure)
	b.WriteString(w.awsSection(v, serial))
	fmt.Fprintf(&b, "deny: [\"*.%s\"]\nfunctions:\n", zoneDenied)
	for _, f := range []string{alpha, beta, gamma, seeker, delta, epsilon, crowder} {
		fmt.Fprintf(&b, "  %s:\n    owner: team-%s\n", f, f)
		if f == gamma {
			fmt.Fprintf(&b, "    mode: report\n    report_until: %s\n", time.Now().AddDate(0, 1, 0).UTC().Format(time.DateOnly))
		}
		switch {
		case f == seeker:
			fmt.Fprintf(&b, "    identify: {sources: [%s]}\n", seekerNet)
		case f == delta, f == epsilon:
			fmt.Fprintf(&b, "    identify: {%s}\n", v.attestedEntry(f))
		default:
			fmt.Fprintf(&b, "    identify: {tokens: [\"sha256:%x\"]}\n", sha256.Sum256([]byte(tokenOf(f))))
		}
		fmt.Fprintf(&b, "    allow:%s", v.allowList(f))
	}
	return b.String()
}

// The limits of the program under test, short so that all of them are met.
const (
	headerTimeout = 2 * time.Second
	dialTimeout   = 1500 * time.Millisecond
	helloTimeout  = 1500 * time.Millisecond
	idleTimeout   = 5 * time.Second
	drainTime     = 3 * time.Second
)

// policyHash is how records name a file.
func policyHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:12]
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// addrOf makes an address of loopback.
func addrOf(a, b, c byte) netip.Addr { return netip.AddrFrom4([4]byte{127, a, b, c}) }

// interval is a span of time; a zero end has not come yet.
type interval struct{ from, to time.Time }

// meets reports whether the interval and [from, to] have an instant in common.
func (i interval) meets(from, to time.Time) bool {
	return !i.from.After(to) && (i.to.IsZero() || !i.to.Before(from))
}

// timeline is what was done to the program, and when.
type timeline struct {
	mu     sync.Mutex
	faults map[fault][]interval
	writes []policyWrite
	struck map[string]int // faults by kind, of all rounds
}

// fault is something that excuses an operation's ending otherwise than planned.
type fault string

const (
	faultDown fault = "down" // the program was not there or was ending
	faultSlow fault = "slow" // it was stopped, or the machine had no time for it
	faultSink fault = "sink" // records could not be written, or not soon
	faultDNS  fault = "dns"  // the upstream did not answer
	faultTerm fault = "term" // the program was draining
	faultFull fault = "full" // it could open no more descriptors
	// faultCrowding excuses nothing: attackers took what all share.
	faultCrowding fault = "crowding"
	// faultForged: questions came from seeker's sources that seeker did not ask.
	faultForged fault = "forged"
)

// policyWrite is one write of the policy file.
type policyWrite struct {
	serial  int
	hash    string
	variant *variant // nil: the file is bad
	keys    []int    // of the issuer that it publishes
	at      time.Time
	upper   time.Time // when a later one was in force; zero: never
}

// begin notes that a fault begins. The func that it returns ends it, with as
// much more time as its effects take.
func (t *timeline) begin(f fault) (end func(after time.Duration)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faults == nil {
		t.faults = map[fault][]interval{}
	}
	t.faults[f] = append(t.faults[f], interval{from: time.Now()})
	i := len(t.faults[f]) - 1
	return func(after time.Duration) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.faults[f][i].to = time.Now().Add(after)
	}
}

// add notes a fault that is over.
func (t *timeline) add(f fault, from, to time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faults == nil {
		t.faults = map[fault][]interval{}
	}
	t.faults[f] = append(t.faults[f], interval{from, to})
}

// during reports whether one of the faults met [from, to].
func (t *timeline) during(from, to time.Time, faults ...fault) bool {
	for _, f := range faults {
		for _, i := range t.faults[f] {
			if i.meets(from, to) {
				return true
			}
		}
	}
	return false
}

// count counts a fault for the summary.
func (t *timeline) count(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.struck == nil {
		t.struck = map[string]int{}
	}
	t.struck[kind]++
}

// reset forgets a round.
func (t *timeline) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults, t.writes = nil, nil
}

// possible returns the good writes that may have been in force at an instant of
// [from, to].
func (t *timeline) possible(from, to time.Time) (some []policyWrite) {
	for _, w := range t.writes {
		if w.variant != nil && (interval{w.at, w.upper}).meets(from, to) {
			some = append(some, w)
		}
	}
	return some
}
