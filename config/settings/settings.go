// Package settings reads the parts of the policy file that are about the program and not
// about who may reach what: dns, limits and audit.
//
// What it does: each part is a typed value, a func that returns what holds where the file
// is silent, and a func that reads a part of the file into it. What is wrong with the file
// is told to the yamlread.Reader.
//
// What it does not do: it knows no functions, rules or listeners, and opens no file.
//
//	dns := settings.DefaultDNS()
//	dns.Read(reader, node)
package settings

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Numbers of DNS record types (IANA, Resource Record TYPEs).
const (
	typeA     = 1
	typeCNAME = 5
	typePTR   = 12
	typeAAAA  = 28
	typeSVCB  = 64
	typeHTTPS = 65
)

// recordTypes are the record types that dns.types may hold.
var recordTypes = []struct {
	name   string
	number uint16
}{
	{"A", typeA}, {"AAAA", typeAAAA}, {"HTTPS", typeHTTPS}, {"SVCB", typeSVCB}, {"CNAME", typeCNAME}, {"PTR", typePTR},
	{"NS", 2}, {"SOA", 6}, {"MX", 15}, {"TXT", 16}, {"SRV", 33}, {"NAPTR", 35}, {"DS", 43}, {"DNSKEY", 48}, {"TLSA", 52}, {"CAA", 257},
}

// DefaultDNS returns the part dns of a file that is silent about it.
func DefaultDNS() DNS {
	return DNS{
		AnswerUnion:            true,
		Types:                  []uint16{typeA, typeAAAA, typeHTTPS, typeSVCB, typeCNAME, typePTR},
		StaleFor:               15 * time.Minute,
		MaxAliases:             16,
		DistinctNamesPerMinute: 1000,
	}
}

// Read reads what concerns the resolver and the DNS filter.
func (d *DNS) Read(r *yamlread.Reader, n yamlread.Node) {
	r.Object(n,
		yamlread.Key("upstreams", func(n yamlread.Node) { d.Upstreams = upstreams(r, n) }),
		yamlread.Key("refuse_with", func(n yamlread.Node) { d.RefuseWith = Refusal(r.Word(n, refusalWords...)) }),
		yamlread.Key("families", func(n yamlread.Node) { d.Families = Families(r.Word(n, familyWords...)) }),
		yamlread.Key("clients", func(n yamlread.Node) { d.Clients = r.Prefixes(n) }),
		yamlread.Key("unknown", func(n yamlread.Node) { d.AnswerUnion = r.Word(n, "union", "refuse") == 0 }),
		yamlread.Key("types", func(n yamlread.Node) { d.Types = types(r, n) }),
		yamlread.Key("record", func(n yamlread.Node) { d.RecordAll = r.Word(n, "refused", "all") == 1 }),
		yamlread.Key("stale_for", func(n yamlread.Node) { d.staleFor(r, n) }),
		yamlread.Key("max_aliases", func(n yamlread.Node) {
			if i, ok := r.Integer(n, 1, mostAliases); ok {
				d.MaxAliases = i
			}
		}),
		yamlread.Key("distinct_names_per_minute", func(n yamlread.Node) { r.Count(n, &d.DistinctNamesPerMinute) }),
	)
}

const (
	// mostStale is how long an expired answer may serve at most: longer, and it says
	// nothing of the world any more (RFC 8767, section 5).
	mostStale = 7 * 24 * time.Hour
	// mostAliases bounds how many questions one may lead to.
	mostAliases = 64
)

// staleFor reads how long expired answers serve, which may be not at all.
func (d *DNS) staleFor(r *yamlread.Reader, n yamlread.Node) {
	if s, ok := r.Scalar(n, "a duration such as 15m"); !ok || s == "0s" {
		if ok {
			d.StaleFor = 0
		}
		return
	}
	r.Duration(n, &d.StaleFor)
	if d.StaleFor > mostStale {
		r.Fail(n, "%s is more than %s; write at most that", d.StaleFor, mostStale)
	}
}

// The words of the file, in the order of the constants.
var (
	refusalWords = []string{"nxdomain", "refused", "nodata"}
	familyWords  = []string{"auto", "ip4", "ip6", "both"}
)

// String returns the word of the file.
func (f Refusal) String() string { return wordOf(refusalWords, int(f)) }

// String returns the word of the file.
func (f Families) String() string { return wordOf(familyWords, int(f)) }

// wordOf returns the word, the first for an unknown value.
func wordOf(all []string, i int) string {
	if i >= len(all) {
		i = 0
	}
	return all[i]
}

// upstreams reads addresses of DNS servers, port 53 unless they have one.
func upstreams(r *yamlread.Reader, n yamlread.Node) (all []netip.AddrPort) {
	r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "an address such as 10.0.0.2")
		if !ok {
			return
		}
		server, err := netip.ParseAddrPort(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			server, err = netip.AddrPortFrom(addr, 53), nil
		}
		if err != nil || server.Port() == 0 || server.Addr().IsUnspecified() {
			r.Fail(item, "%s is not the address of a DNS server; write one such as 10.0.0.2 or 10.0.0.2:53", yamlread.Quote(s))
			return
		}
		all = append(all, netip.AddrPortFrom(server.Addr().Unmap(), server.Port()))
	})
	return all
}

// types reads which record types are answered.
func types(r *yamlread.Reader, n yamlread.Node) []uint16 {
	names := make([]string, len(recordTypes))
	for i, t := range recordTypes {
		names[i] = t.name
	}
	all := []uint16{}
	r.List(n, func(item yamlread.Node) { all = append(all, recordTypes[r.Word(item, names...)].number) })
	return all
}

// DefaultLimits returns the limits of a file that is silent about them.
func DefaultLimits() Limits {
	return Limits{
		Tunnels:            20000,
		TunnelsPerFunction: 5000,
		Unidentified:       4096,
		HeaderTimeout:      10 * time.Second,
		HeaderBytes:        16 << 10,
		DialTimeout:        5 * time.Second,
		HelloTimeout:       5 * time.Second,
		IdleTimeout:        330 * time.Second,
		Lifetime:           12 * time.Hour,
		Drain:              110 * time.Second,
		RefusalRecords:     6000,
	}
}

// Read reads the limits, none of which can be switched off.
func (l *Limits) Read(r *yamlread.Reader, n yamlread.Node) {
	count := func(dst *int) func(yamlread.Node) { return func(n yamlread.Node) { r.Count(n, dst) } }
	duration := func(dst *time.Duration) func(yamlread.Node) { return func(n yamlread.Node) { r.Duration(n, dst) } }
	found := r.Object(n,
		yamlread.Key("tunnels", count(&l.Tunnels)),
		yamlread.Key("tunnels_per_function", count(&l.TunnelsPerFunction)),
		yamlread.Key("unidentified", count(&l.Unidentified)),
		yamlread.Key("header_timeout", duration(&l.HeaderTimeout)),
		yamlread.Key("header_bytes", func(n yamlread.Node) { r.Size(n, &l.HeaderBytes) }),
		yamlread.Key("dial_timeout", duration(&l.DialTimeout)),
		yamlread.Key("hello_timeout", duration(&l.HelloTimeout)),
		yamlread.Key("idle_timeout", duration(&l.IdleTimeout)),
		yamlread.Key("lifetime", duration(&l.Lifetime)),
		yamlread.Key("drain", duration(&l.Drain)),
		yamlread.Key("refusal_records", count(&l.RefusalRecords)),
	)
	_, l.HasTunnels = found["tunnels"]
	_, l.HasUnidentified = found["unidentified"]
	_, l.HasTunnelsPerFunction = found["tunnels_per_function"]
	if l.TunnelsPerFunction <= l.Tunnels {
		return
	}
	if per, given := found["tunnels_per_function"]; given {
		r.Fail(per, "%d is more than limits.tunnels (%d); write at most that", l.TunnelsPerFunction, l.Tunnels)
	}
	l.TunnelsPerFunction = l.Tunnels
}

// Read reads where records go.
func (a *Audit) Read(r *yamlread.Reader, n yamlread.Node) {
	r.Object(n,
		yamlread.Key("output", func(n yamlread.Node) {
			switch s, ok := r.Scalar(n, "stdout or the path of a file"); {
			case !ok || s == "stdout":
			case s == "" || s == "stderr" || s == "-":
				r.Fail(n, "%s is no place for records; write stdout or the path of a file", yamlread.Quote(s))
			default:
				a.Output = r.Path(s)
			}
		}),
		yamlread.Key("on_failure", func(n yamlread.Node) { a.CountLoss = r.Word(n, "refuse", "count") == 1 }),
	)
}
