//go:build torture

package torture

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// operation is one request of a client: what it plans, and what came of it.
type operation struct {
	id   uint64
	kind string // for the summary

	// The plan.

	method     string // CONNECT, GET, HEAD, POST or LOOKUP
	function   string // who the client says it is, or is by its source; "": nobody
	credential string // goodToken, badToken, noToken, awsToken or forgedToken
	token      string // of AWS, or forged; "": none is shown
	key        int    // of the issuer, which has signed it
	basic      bool   // it is shown by Basic
	source     netip.Addr
	network    string // of a bad network that the client is behind; "": none
	host       string
	zone, word string // of host; "" for an address
	shared     bool   // other operations have the same host
	literal    netip.Addr
	port       uint16
	raw        string // of a malformed head: the whole of it
	want       []reason
	hello      string // what comes first in a tunnel that is to be TLS
	early      bool   // it comes with the head
	transfer   transfer
	abort      int    // after which step the client goes away; 0: never
	reset      bool   // by a reset
	slow       int    // milliseconds between the pieces of the head
	long       bool   // the transfer up takes some seconds
	deaf       bool   // it does not read for a while, then goes away
	balancer   string // which PROXY header comes first, "": none
	idle       bool   // the tunnel is left alone until the program ends it
	behind     bool   // sent behind a request that is refused: nothing may come of it
	qtype      uint16
	proto      string // of a lookup: udp or tcp

	// What came of it. The zero outcome is that it was not carried out.

	start, end time.Time
	outcome    outcome
	status     int
	reason     reason
	recordID   string
	seen       position // of the records when the answer had been read
	passedAt   time.Time
	tail       tail
	tailSeen   position // of the records when the tunnel's end was seen
	sent, got  int64    // bytes in the tunnel, or of content
	addrs      []netip.Addr
	detail     string
}

// outcome is how a request ended for the client.
type outcome string

const (
	passed  outcome = "passed"
	refused outcome = "refused"
	nothing outcome = "nothing" // the connection ended without an answer
	torn    outcome = "torn"    // a part of an answer
	hung    outcome = "hung"    // no answer in patience
	quit    outcome = "quit"    // the client went away, as it had planned
)

// tail is how a tunnel ended for the client.
type tail string

const (
	tailNone   tail = ""
	tailWhole  tail = "whole"  // all came
	tailClosed tail = "closed" // it ended before any byte came
	tailCut    tail = "cut"    // it ended in the middle
	tailQuit   tail = "quit"   // the client ended it
	tailWrong  tail = "wrong"  // a byte was of another tunnel
	tailHung   tail = "hung"   // it should have ended and did not
)

// Credentials and hellos.
const (
	goodToken = "good"
	badToken  = "bad"
	noToken   = "none"

	helloGood   = "good"
	helloWrong  = "wrong"
	helloNone   = "no name"
	helloNotTLS = "not tls"
	helloSilent = "silent"
	helloCut    = "cut"
)

// The steps after which a client goes away.
const (
	abortConnected = iota + 1
	abortMidHead
	abortHead
	abortAnswer
	abortMidHello
	abortHello
	abortMidway
	abortSteps = abortMidway
)

// PROXY headers.
const (
	balancerV1   = "v1"
	balancerV2   = "v2"
	balancerNone = "none"
	balancerBad  = "bad"
)

// target returns the authority that is asked for.
func (o *operation) target() string { return fmt.Sprintf("%s:%d", o.host, o.port) }

// own reports whether the host is this operation's alone, so that what is
// recorded about it is about this.
func (o *operation) own() bool { return o.zone != "" && len(o.want) == 0 && !o.shared }

// name sets the host.
func (o *operation) name(word, zone string) {
	o.word, o.zone = word, zone
	o.host = fmt.Sprintf("o%d-%s.%s", o.id, word, zone)
}

// recipe is a kind of operation.
type recipe struct {
	kind   string
	weight int
	plan   func(w *world, r *rand.Rand, o *operation)
}

// recipes are all kinds of a single request. Kinds of several are in series.
var recipes = append(slices.Concat(attestedRecipes, fetchedRecipes), []recipe{
	{"tunnel", 16, func(w *world, r *rand.Rand, o *operation) { o.name(pick(r, "one", "third", "slow", "alias"), zoneBoth) }},
	{"tunnel of another function", 4, func(w *world, r *rand.Rand, o *operation) {
		o.function = beta
		o.name("second", zoneBeta)
	}},
	{"tunnel by source", 4, func(w *world, r *rand.Rand, o *operation) { o.bySource(r); o.name("one", zoneBoth) }},
	{"tunnel without TLS", 8, func(w *world, r *rand.Rand, o *operation) {
		o.port = pick(r, w.ports.raw, w.ports.tls)
		o.name(pick(r, "one", "third"), zoneRaw)
	}},
	{"tunnel to an address", 4, func(w *world, r *rand.Rand, o *operation) {
		o.port, o.literal = w.ports.raw, addrOf(3, 0, byte(1+r.IntN(peers)))
		o.host, o.function = o.literal.String(), pick(r, alpha, alpha, beta)
	}},
	{"idle tunnel", 2, func(w *world, r *rand.Rand, o *operation) {
		o.idle, o.port = true, w.ports.raw
		o.name("one", zoneRaw)
	}},
	{"long tunnel that reloads may end", 5, func(w *world, r *rand.Rand, o *operation) {
		o.long, o.transfer.up, o.transfer.down = true, 3000, r.Int64N(2<<10)
		o.name("one", pick(r, zoneOnlyA, zoneOnlyB, zoneNarrow, zonePorts, zoneBoth))
	}},
	{"client that does not read", 2, func(w *world, r *rand.Rand, o *operation) {
		o.deaf, o.reset, o.port, o.transfer.down = true, r.IntN(2) == 0, w.ports.raw, 12<<20
		o.name("one", zoneRaw)
	}},
	{"client behind a balancer", 5, func(w *world, r *rand.Rand, o *operation) {
		o.bySource(r)
		o.balancer, o.transfer.up = pick(r, balancerV1, balancerV2), r.Int64N(6<<10)
		o.name("one", pick(r, zoneBoth, zoneBoth, zoneRaw, zoneNever))
	}},
	{"broken header of a balancer", 1, func(w *world, r *rand.Rand, o *operation) {
		o.balancer = pick(r, balancerNone, balancerBad)
		o.name("one", zoneBoth)
	}},
	{"target that reloads change", 12, func(w *world, r *rand.Rand, o *operation) {
		switch r.IntN(4) {
		case 0:
			o.name("one", pick(r, zoneOnlyA, zoneOnlyB))
		case 1:
			o.name(pick(r, "one", "second", "third"), zoneNarrow)
		default:
			o.port = pick(r, w.ports.raw, w.ports.tls)
			o.name("one", zonePorts)
		}
	}},
	{"host that is not on the list", 14, func(w *world, r *rand.Rand, o *operation) {
		o.function = pick(r, alpha, alpha, beta, gamma)
		o.name(pick(r, "one", "canary"), zoneNever)
		if r.IntN(3) == 0 {
			o.function = pick(r, alpha, gamma)
			o.name("second", zoneBeta)
		}
	}},
	{"host on the deny list", 4, func(w *world, r *rand.Rand, o *operation) {
		o.port, o.function = 443, pick(r, alpha, gamma)
		o.name(pick(r, "one", "canary"), zoneDenied)
	}},
	{"rule that has expired", 1, func(w *world, r *rand.Rand, o *operation) { o.name("one", zoneGone) }},
	{"port that is not open", 6, func(w *world, r *rand.Rand, o *operation) {
		o.port = pick(r, w.ports.off, 22)
		o.name("one", pick(r, zoneBoth, zoneRaw))
	}},
	{"address that is not open", 10, func(w *world, r *rand.Rand, o *operation) {
		o.name(pick(r, "mix", "canary", "second"), pick(r, zoneBoth, zoneRaw))
	}},
	{"answer that flips", 6, func(w *world, r *rand.Rand, o *operation) {
		o.name("flip", pick(r, zoneBoth, zoneRaw))
		if r.IntN(2) == 0 { // a name that several share
			o.shared, o.port, o.zone = true, w.ports.raw, zoneRaw
			o.host = "o0-flip." + zoneRaw
		}
	}},
	{"address that no rule has", 4, func(w *world, r *rand.Rand, o *operation) {
		o.literal, o.port = pick(r, addrOf(9, 0, 1), addrOf(1, 0, 1), addrOf(0, 0, 1)), pick(r, w.ports.raw, w.ports.tls)
		o.host = o.literal.String()
	}},
	{"the proxy itself", 3, func(w *world, r *rand.Rand, o *operation) {
		o.port = pick(r, w.ports.proxy, w.ports.admin, w.ports.dns, w.ports.raw)
		o.name("self", zoneSelf)
	}},
	{"origin that is not there", 6, func(w *world, r *rand.Rand, o *operation) { o.name(pick(r, "dead", "dead", "hole"), zoneBoth) }},
	{"origin with a dead address", 4, func(w *world, r *rand.Rand, o *operation) { o.name(pick(r, "half", "beside"), zoneBoth) }},
	{"name that does not resolve", 4, func(w *world, r *rand.Rand, o *operation) { o.name(pick(r, "nx", "fail", "silent"), zoneBoth) }},
	{"no token", 5, func(w *world, r *rand.Rand, o *operation) {
		o.credential, o.function = noToken, ""
		o.name("one", pick(r, zoneBoth, zoneNever))
	}},
	{"bad token", 5, func(w *world, r *rand.Rand, o *operation) {
		o.credential, o.source = badToken, addrOf(70, 0, byte(1+r.IntN(4)))
		o.name("one", zoneBoth)
	}},
	{"bad token from a known source", 1, func(w *world, r *rand.Rand, o *operation) {
		o.bySource(r)
		o.credential = badToken
		o.name("one", zoneBoth)
	}},
	{"hello for another host", 6, func(w *world, r *rand.Rand, o *operation) {
		o.hello, o.function = helloWrong, pick(r, alpha, alpha, gamma)
		o.transfer.down++ // a byte that must not come
		o.name("one", zoneBoth)
	}},
	{"hello that names nobody", 3, func(w *world, r *rand.Rand, o *operation) {
		o.hello, o.function = pick(r, helloNone, helloNotTLS), pick(r, alpha, alpha, gamma)
		o.transfer.down++
		o.name("one", zoneBoth)
	}},
	{"hello that does not come", 2, func(w *world, r *rand.Rand, o *operation) {
		o.hello = pick(r, helloSilent, helloCut, helloCut)
		o.name("one", zoneBoth)
	}},
	{"client that goes away", 10, func(w *world, r *rand.Rand, o *operation) {
		o.abort, o.reset = 1+r.IntN(abortSteps), r.IntN(2) == 0
		o.name(pick(r, "one", "half", "dead", "canary"), pick(r, zoneBoth, zoneBoth, zoneNever))
	}},
	{"slow head", 2, func(w *world, r *rand.Rand, o *operation) {
		o.slow, o.early = pick(r, 30, 200, 900), false
		o.name("one", pick(r, zoneBoth, zoneNever))
	}},
	{"malformed head", 8, planMalformed},
	{"tunnel through a bad network", 6, func(w *world, r *rand.Rand, o *operation) {
		o.network = w.toxic.pick(r)
		o.name(pick(r, "one", "third"), zoneBoth)
		o.transfer.up, o.transfer.down = r.Int64N(4<<10), r.Int64N(16<<10)
	}},
	{"refusal through a bad network", 4, func(w *world, r *rand.Rand, o *operation) {
		o.network = w.toxic.pick(r)
		o.name("one", zoneNever)
	}},
	{"origin behind a bad network", 5, func(w *world, r *rand.Rand, o *operation) {
		o.name("toxic", zoneRaw)
		o.port = pick(r, w.ports.raw, w.ports.tls)
		o.transfer.up, o.transfer.down = r.Int64N(4<<10), r.Int64N(16<<10)
	}},
	{"lookup", 14, planLookup},
}...)

// pick returns one of the values.
func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// bySource makes the client one that is known by where it comes from.
func (o *operation) bySource(r *rand.Rand) {
	o.function, o.credential, o.source = seeker, noToken, addrOf(80, byte(r.IntN(250)), byte(1+r.IntN(250)))
}

// newOperation makes what all kinds begin with.
func newOperation(w *world, r *rand.Rand, id uint64) *operation {
	o := &operation{
		id: id, method: "CONNECT", function: alpha, credential: goodToken, port: w.ports.tls, hello: helloGood,
		source: addrOf(byte(100+id>>16&0x7), byte(id>>8), byte(id)), early: r.IntN(6) == 0,
	}
	o.transfer = transfer{op: id, up: size(r), down: size(r), end: pick(r, endClient, endOrigin, endHalf)}
	return o
}

// size is a number of bytes: most transfers are small, some stream.
func size(r *rand.Rand) int64 {
	switch n := r.IntN(40); {
	case n < 4:
		return 0
	case n < 30:
		return r.Int64N(6 << 10)
	case n < 39:
		return r.Int64N(96 << 10)
	default:
		return r.Int64N(3 << 20)
	}
}

// planLookup plans a question to the DNS filter.
func planLookup(w *world, r *rand.Rand, o *operation) {
	o.method, o.credential, o.function, o.proto = "LOOKUP", noToken, "", pick(r, "udp", "udp", "udp", "tcp")
	if r.IntN(3) == 0 {
		o.bySource(r)
	}
	o.qtype = pick(r, uint16(1), 1, 1, 1, 28, 16)
	o.name(pick(r, "one", "third", "mix", "canary", "flip", "nx", "fail", "alias", "detour", "slow"),
		pick(r, zoneBoth, zoneBoth, zoneRaw, zoneNever, zoneNever, zoneDenied, zoneBeta, zoneOnlyA, zoneOnlyB, zoneNarrow, zoneGone))
}

// planMalformed plans a head that is refused whoever sends it.
func planMalformed(w *world, r *rand.Rand, o *operation) {
	o.name("one", zoneBoth)
	auth := o.authorization()
	t := o.target()
	heads := []struct {
		text string
		want reason
	}{
		{"CONNECT " + o.host + " HTTP/1.1\r\n" + auth + "\r\n", "bad_target"},
		{"CONNECT " + o.host + ":65536 HTTP/1.1\r\n" + auth + "\r\n", "bad_target"},
		{"CONNECT a@" + t + " HTTP/1.1\r\n" + auth + "\r\n", "bad_target"},
		{"CONNECT 2130706433:443 HTTP/1.1\r\n" + auth + "\r\n", "bad_target"},
		{"CONNECT " + t + " HTTP/1.1\n" + auth + "\n", "bad_request"},
		{"CONNECT " + t + "  HTTP/1.1\r\n" + auth + "\r\n", "bad_request"},
		{"CONNECT " + t + " HTTP/1.1\r\n" + auth + "Content-Length: 5\r\n\r\nabcde", "bad_request"},
		{"CONNECT " + t + " HTTP/1.1\r\n" + auth + "Via: 1.1 egress\r\n\r\n", "loop"},
		{"CONNECT " + t + " HTTP/1.1\r\n" + auth + "X: " + string(pattern(nil, 1, 'a', 0, 3)) + "\x00\r\n\r\n", "bad_request"},
		{"CONNECT " + t + " HTTP/1.1\r\n" + auth + "X-Pad: " + padding(20<<10) + "\r\n\r\n", "bad_request"},
		{"connect " + t + " HTTP/1.1\r\n" + auth + "\r\n", "method_not_allowed"},
		{"GET / HTTP/1.1\r\nHost: " + t + "\r\n" + auth + "\r\n", "bad_request"},
		{"GET https://" + t + "/ HTTP/1.1\r\nHost: " + t + "\r\n" + auth + "\r\n", "https_not_tunneled"},
		{"GET ftp://" + t + "/ HTTP/1.1\r\nHost: " + t + "\r\n" + auth + "\r\n", "scheme_not_supported"},
		{"TRACE http://" + t + "/ HTTP/1.1\r\nHost: " + t + "\r\n" + auth + "\r\n", "method_not_allowed"},
		{"POST http://" + t + "/ HTTP/1.1\r\nHost: " + t + "\r\n" + auth + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_request"},
		{"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nCONNECT " + t + " HTTP/1.1\r\n" + auth + "\r\n", "bad_request"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_request"},
	}
	h := heads[r.IntN(len(heads))]
	o.raw, o.want = h.text, []reason{h.want}
}

// padding returns n bytes that a field may have.
func padding(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}
