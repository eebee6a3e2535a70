// Package bounds is the table of everything that is bounded in the process and that
// callers share: how much there is, who has shares of it, how large one is, what who is
// over it gets, who has to go where all is taken, and what the others keep.
//
// The code that hands things out reads its numbers here, docs/limits.md and the metrics
// are compared with it, and a test finds every buffered channel, pool and map of the
// process in it, or among those that are exempt for a reason.
//
// What it does not do: it hands nothing out. Packages admission, fair, distinct and flood do.
package bounds

// OverShare is the line of the log that names who asks for more than its share, once a
// minute for each row, with share (the row's name), times, and function or source.
const OverShare = "a caller asks for more than its share of what all need; it is refused, or its oldest is closed"

// Bound is one row: a kind of thing that there is a bounded number of.
type Bound struct {
	Name string // in metrics, the log and the page; no two have the same
	Of   string // what it is a number of
	Size string // how many there are
	By   string // who has shares: "function", "source" (of IPv6 the /64), both, or "nobody"

	// One caller may have 1/Part of all, but not fewer than Least nor more than Most;
	// zero: there is no such bound. Beside others that take much it may have less.
	Part, Least, Most int

	Over   string // what becomes of who asks for more than its share
	Full   string // who has to go where all is taken
	Keeps  string // what others keep, and from how many takers on no more
	Metric string // counts those who were over their share, or had to go; "": nobody ever is
	// Refuses says that somebody is turned away where all is taken, so that it is worth an
	// alarm before. Caches, which are full by design, and what costs time alone have it not.
	Refuses bool
	// Held names the fields and variables that hold it, as package.Type.field.
	Held []string
	Test string // shows that a taker harms nobody; red where the share is taken out
}

// PartOf returns how many of so many one caller may have.
func (b *Bound) PartOf(all int) int {
	n := max(b.Least, 1)
	if b.Part > 0 {
		n = max(n, all/b.Part)
	}
	if b.Most > 0 {
		n = min(n, b.Most)
	}
	return n
}

// PreAuth and the others below are the rows whose numbers code reads.
var (
	// PreAuth are connections before their caller is known.
	PreAuth = Bound{
		Name: "unidentified", Refuses: true, Of: "connections that have not shown who they are",
		Size: "`limits.unidentified`, cut to an eighth of the memory and to the descriptors", By: "source",
		Part: 4, Least: 16,
		Over:   "its oldest connection that has said nothing is closed",
		Full:   "from seven eighths on, the oldest of the source that has most",
		Keeps:  "a newcomer gets in at once, however many sources take all they can, as long as they are fewer than the places",
		Metric: "egress_unidentified_closed_total",
		Held:   []string{"internal/admission.Connections.preAuth", "internal/admission.PreAuthLimiter.places"},
		Test:   "TestManySourcesOfSilentConnectionsKeepNobodyOut",
	}
	// Lingering are connections behind their last reply.
	Lingering = Bound{
		Name: "lingering", Of: "connections that have had their last reply and that their client has not closed",
		Size: "a quarter of all connections", By: "function, or source where it is not known",
		Part: 16, Most: 256,
		Over:   "its oldest is cut",
		Full:   "the oldest of whoever has most",
		Keeps:  "three quarters of all connections are never lingering",
		Metric: "egress_lingering_closed_total",
		Held:   []string{"internal/admission.Lingering.places"},
		Test:   "TestThoseThatLingerTogetherTakeAPart",
	}
	// KeepAlive are connections between two plain requests.
	KeepAlive = Bound{
		Name: "kept_alive", Of: "connections that wait for their next plain request",
		Size: "8,192, or what there are descriptors for", By: "function",
		Part:   2,
		Over:   "`Connection: close` with the answer",
		Full:   "nobody; a wait ends after 60 s, behind a refusal after 5 s",
		Keeps:  "of k functions that take all they can each has 1/(k+1) of it, and 1/(k+1) stays; a request without one costs a connection more",
		Metric: "egress_over_share_total",
		Held:   []string{"internal/admission.Slots.keepAlive"},
		Test:   "TestFunctionsThatKeepConnectionsLeaveRoomForOthers",
	}
	// Memory are the bytes that requests hold at worst.
	Memory = Bound{
		Name: "memory", Refuses: true, Of: "bytes that requests hold at worst, from their head until they are a tunnel or over",
		Size: "half of the memory of the task; no bound where that is not known", By: "function",
		Part:   4,
		Over:   "`limit_function`",
		Full:   "nobody; who has most gets no more first",
		Keeps:  "of k functions that take all they can each has 1/(k+3) of it, and 3/(k+3) stay",
		Metric: "egress_over_share_total",
		Held:   []string{"internal/admission.Slots.held"},
		Test:   "TestFunctionsThatHoldWhatTheyCanLeaveRoomForOthers",
	}
	// Dials are those under way.
	Dials = Bound{
		Name: "dials", Refuses: true, Of: "dials under way; half of a function's share to one host",
		Size: "half of the tunnels, 64 at least", By: "function",
		Part: 4, Least: 32,
		Over:   "`limit_function`",
		Full:   "nobody; a dial ends within `limits.dial_timeout`",
		Keeps:  "of k functions that take all they can each has 1/(k+3) of it, and 3/(k+3) stay",
		Metric: "egress_over_share_total",
		Held:   []string{"internal/admission.DialLimiter.all", "internal/admission.DialLimiter.targets"},
		Test:   "TestFunctionsThatDialDeadHostsLeaveRoomForOthers",
	}
	// ExtraDials are attempts beside a host's first.
	ExtraDials = Bound{
		Name: "extra_dials", Of: "attempts to dial an address beside a host's first one",
		Size: "1,024, or what there are descriptors for", By: "function",
		Part:   4,
		Over:   "the silent attempt gives way to the next address after its part of the time",
		Full:   "nobody; an attempt ends within `limits.dial_timeout`",
		Keeps:  "of k functions that take all they can each has 1/(k+3) of it, and 3/(k+3) stay",
		Metric: "egress_over_share_total",
		Held:   []string{"internal/admission.Slots.extra"},
		Test:   "TestFunctionsThatDialDeadHostsLeaveRoomForOthers",
	}
	// Lookups are questions at upstreams.
	Lookups = Bound{
		Name: "lookups", Refuses: true, Of: "lookups that wait for an upstream, of requests and of DNS questions",
		Size: "1,024, or an eighth of the descriptors; of many a forty-eighth, 128 at least", By: "function, or source where it is not known; all sources of no function together have half",
		Part: 3, Least: 16,
		Over:   "its oldest ends, `limit_function`; a lookup for which nobody waits ends too",
		Full:   "the oldest of whoever has most",
		Keeps:  "whoever has less than the one that has most gets one, and never loses it",
		Metric: "egress_lookups_refused_total",
		Held:   []string{"internal/resolve.Resolver.places", "internal/resolve.shard.inflight"},
		Test:   "TestLookupsOfOneCallerStandInNobodysWay",
	}
	// Refusals are refused requests that wait.
	Refusals = Bound{
		Name: "refusals", Refuses: true, Of: "refused requests that wait for the record that they share",
		Size: "half of `connections`", By: "function, or source where it is not known; all sources of no function together have half",
		Part: 2, Least: 16,
		Over:   "its connection is closed without an answer",
		Full:   "the oldest of whoever has most",
		Keeps:  "whoever has less than the one that has most gets one, and never loses it",
		Metric: "egress_refusals_dropped_total",
		Held:   []string{"internal/exchange.pendingRefusals.places"},
		Test:   "TestRefusalsThatWaitAreNotAllOfOneCaller",
	}
	// DNSQuestions are questions of DNS clients.
	DNSQuestions = Bound{
		Name: "dns_questions", Refuses: true, Of: "DNS questions that wait for an upstream",
		Size: "4,096", By: "function, or source where it is not known; all sources of no function together have half",
		Part: 4, Least: 16,
		Over:   "its oldest is SERVFAIL, `limit_function`",
		Full:   "the oldest of whoever has most",
		Keeps:  "whoever has less than the one that has most gets one, and never loses it",
		Metric: "egress_dns_questions_refused_total",
		Held:   []string{"dnsfilter.Server.pending"},
		Test:   "TestQuestionsOfOneClientStandInNobodysWay",
	}
)
