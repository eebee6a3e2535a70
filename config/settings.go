package config

import (
	"net/netip"
	"time"
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

// dns reads what concerns the resolver and the DNS filter.
func (r *reader) dns(v value) {
	d := &r.config.DNS
	r.object(v, []field{
		{"upstreams", r.upstreams},
		{"refuse_with", func(v value) { d.RefuseWith = Refusal(r.word(v, refusalWords...)) }},
		{"families", func(v value) { d.Families = Families(r.word(v, familyWords...)) }},
		{"clients", func(v value) { d.Clients = r.prefixes(v) }},
		{"unknown", func(v value) { d.AnswerUnion = r.word(v, "union", "refuse") == 0 }},
		{"types", r.types},
		{"record", func(v value) { d.RecordAll = r.word(v, "refused", "all") == 1 }},
		{"distinct_names_per_minute", func(v value) { r.count(v, &d.DistinctNamesPerMinute) }},
	})
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
func wordOf(words []string, i int) string {
	if i >= len(words) {
		i = 0
	}
	return words[i]
}

// upstreams reads addresses of DNS servers, port 53 unless they have one.
func (r *reader) upstreams(v value) {
	r.list(v, func(item value) {
		s, ok := r.scalar(item, "an address such as 10.0.0.2")
		if !ok {
			return
		}
		server, err := netip.ParseAddrPort(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			server, err = netip.AddrPortFrom(addr, 53), nil
		}
		if err != nil || server.Port() == 0 || server.Addr().IsUnspecified() {
			r.fail(item, "%s is not the address of a DNS server; write one such as 10.0.0.2 or 10.0.0.2:53", quote(s))
			return
		}
		r.config.DNS.Upstreams = append(r.config.DNS.Upstreams, netip.AddrPortFrom(server.Addr().Unmap(), server.Port()))
	})
}

// types reads which record types are answered.
func (r *reader) types(v value) {
	names := make([]string, len(recordTypes))
	for i, t := range recordTypes {
		names[i] = t.name
	}
	all := []uint16{}
	r.list(v, func(item value) { all = append(all, recordTypes[r.word(item, names...)].number) })
	r.config.DNS.Types = all
}

// defaultLimits returns the limits of a file that is silent about them.
func defaultLimits() Limits {
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

// limits reads the limits, none of which can be switched off.
func (r *reader) limits(v value) {
	l := &r.config.Limits
	count := func(dst *int) func(value) { return func(v value) { r.count(v, dst) } }
	duration := func(dst *time.Duration) func(value) { return func(v value) { r.duration(v, dst) } }
	found := r.object(v, []field{
		{"tunnels", count(&l.Tunnels)},
		{"tunnels_per_function", count(&l.TunnelsPerFunction)},
		{"unidentified", count(&l.Unidentified)},
		{"header_timeout", duration(&l.HeaderTimeout)},
		{"header_bytes", func(v value) { r.size(v, &l.HeaderBytes) }},
		{"dial_timeout", duration(&l.DialTimeout)},
		{"hello_timeout", duration(&l.HelloTimeout)},
		{"idle_timeout", duration(&l.IdleTimeout)},
		{"lifetime", duration(&l.Lifetime)},
		{"drain", duration(&l.Drain)},
		{"refusal_records", count(&l.RefusalRecords)},
	})
	_, l.HasTunnels = found["tunnels"]
	_, l.HasUnidentified = found["unidentified"]
	if l.TunnelsPerFunction <= l.Tunnels {
		return
	}
	if per, given := found["tunnels_per_function"]; given {
		r.fail(per, "%d is more than limits.tunnels (%d); write at most that", l.TunnelsPerFunction, l.Tunnels)
	}
	l.TunnelsPerFunction = l.Tunnels
}

// audit reads where records go.
func (r *reader) audit(v value) {
	a := &r.config.Audit
	r.object(v, []field{
		{"output", func(v value) {
			switch s, ok := r.scalar(v, "stdout or the path of a file"); {
			case !ok || s == "stdout":
			case s == "" || s == "stderr" || s == "-":
				r.fail(v, "%s is no place for records; write stdout or the path of a file", quote(s))
			default:
				a.Output = r.resolve(s)
			}
		}},
		{"on_failure", func(v value) { a.CountLoss = r.word(v, "refuse", "count") == 1 }},
	})
}
