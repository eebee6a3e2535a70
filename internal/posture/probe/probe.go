// Package probe describes the ways round the gate that are tried from within a function's
// network, and says what their outcomes mean.
//
// What it does: Table has the ways, what is tried of each by default, and what an open one
// means. Judge turns what was seen of one try into a finding, and Conclude all of them into
// a verdict. Whoever calls it makes the tries.
//
// What it does not do: it opens no connection and reads no clock.
//
//	tries, err := probe.Plan("allowed.example:443", targets)
//	outcome := … // package attempt
//	found := probe.Judge(&tries[0], &outcome)
package probe

import "slices"

// Way is one way that is tried. Its zero value is none.
type Way string

// The ways. Control is the one that should work, all others should not.
const (
	Control         Way = "control"
	RefusedName     Way = "refused-name"
	NoCredential    Way = "no-credential"
	OtherCredential Way = "other-credential"
	Direct443       Way = "direct-443"
	Direct80        Way = "direct-80"
	IPv6            Way = "ipv6"
	OwnResolver     Way = "own-resolver"
	ResolverUDP     Way = "resolver-udp"
	ResolverTCP     Way = "resolver-tcp"
	DNSOverTLS      Way = "dns-over-tls"
	DNSOverHTTPS    Way = "dns-over-https"
	NTP             Way = "ntp"
	ICMP            Way = "icmp"
	MetadataIPv4    Way = "metadata-ipv4"
	MetadataIPv6    Way = "metadata-ipv6"
	Endpoint        Way = "endpoint"
)

// Method is how a way is tried.
type Method uint8

// The methods. The zero value is none, and cannot be tried.
const (
	MethodConnect Method = iota + 1 // CONNECT to the proxy (RFC 9110, section 9.3.6)
	MethodTLS                       // a handshake; the certificate has to be for what is expected
	MethodHTTP                      // GET / without TLS; the head of the answer has what is expected
	MethodObject                    // GET of an https URL
	MethodDNSUDP                    // a question by UDP (RFC 1035)
	MethodDNSTCP                    // the same by TCP
	MethodDoT                       // the same over TLS (RFC 7858)
	MethodDoH                       // the same over HTTPS (RFC 8484)
	MethodNTP                       // a client's packet (RFC 5905)
	MethodEcho                      // an ICMP echo request (RFC 792)
)

// Row is what is known of a way.
type Row struct {
	Way    Way
	Method Method
	// Hole is what an open way means, and Cure what closes it: parts of sentences.
	Hole, Cure string
	// Inside says that whoever is asked belongs to the fence: that it says no is the fence
	// at work. Elsewhere an answer, whatever it says, came from beyond the fence.
	Inside bool
	// Defaults are the targets that are tried unless others are given; none: the way is tried
	// only with a target of its own.
	Defaults []string
}

// Table has every way but Control, in the order in which they are tried and told.
var Table = []Row{
	{RefusedName, MethodConnect, "the proxy opens a connection to a name that the policy should refuse", "take the name out of the function's entry", true, []string{"example.com:443"}},
	{NoCredential, MethodConnect, "the proxy serves callers without a credential", "give the entry no sources that have other callers too", true, nil},
	{OtherCredential, MethodConnect, "the proxy serves a credential that is not this function's", "take the credential, or the name, out of the other entry", true, nil},
	{Direct443, MethodTLS, "a connection to port 443 goes round the gate", "let the security group through to the gate and the endpoints alone", false, []string{"1.1.1.1:443#one.one.one.one", "8.8.8.8:443#dns.google"}},
	{Direct80, MethodHTTP, "a connection to port 80 goes round the gate", "let the security group through to the gate and the endpoints alone", false, []string{"1.1.1.1:80#cloudflare"}},
	{IPv6, MethodTLS, "IPv6 goes round the gate", "take the egress-only gateway and the rule for ::/0 away", false, []string{"[2606:4700:4700::1111]:443#one.one.one.one"}},
	{OwnResolver, MethodDNSUDP, "the network's own resolver answers a name that the policy should refuse", "block all names but those of the policy with DNS Firewall", true, []string{"169.254.169.253:53#one.one.one.one=1.1.1.1"}},
	{ResolverUDP, MethodDNSUDP, "another resolver answers by UDP", "let UDP port 53 through to the gate alone", false, []string{"1.1.1.1:53#one.one.one.one=1.1.1.1"}},
	{ResolverTCP, MethodDNSTCP, "another resolver answers by TCP", "let TCP port 53 through to the gate alone", false, []string{"1.1.1.1:53#one.one.one.one=1.1.1.1"}},
	{DNSOverTLS, MethodDoT, "another resolver answers over TLS", "let nothing through to port 853", false, []string{"1.1.1.1:853#one.one.one.one"}},
	{DNSOverHTTPS, MethodDoH, "another resolver answers over HTTPS", "let the security group through to the gate and the endpoints alone", false, []string{"8.8.8.8:443#dns.google"}},
	{NTP, MethodNTP, "a time server of the internet answers", "let UDP port 123 through to nobody; Amazon's clock needs no rule", false, []string{"216.239.35.0:123"}},
	{ICMP, MethodEcho, "an address of the internet answers an echo request", "let no ICMP out", false, []string{"1.1.1.1"}},
	{MetadataIPv4, MethodHTTP, "the metadata service answers, and may hand out credentials", "switch it off, or block its address", false, []string{"169.254.169.254:80#EC2ws"}},
	{MetadataIPv6, MethodHTTP, "the metadata service answers by IPv6, and may hand out credentials", "switch its IPv6 address off", false, []string{"[fd00:ec2::254]:80#EC2ws"}},
	{Endpoint, MethodObject, "an endpoint leads to another account's bucket", "bind the endpoint's policy to your own account (aws:ResourceAccount)", true, nil},
}

// Ways are the names of Table, in its order.
func Ways() (names []string) {
	for i := range Table {
		names = append(names, string(Table[i].Way))
	}
	return names
}

// find returns the row of a way; false: it is no way, or Control.
func find(w Way) (*Row, bool) {
	at := slices.IndexFunc(Table, func(r Row) bool { return r.Way == w })
	if at < 0 {
		return nil, false
	}
	return &Table[at], true
}
