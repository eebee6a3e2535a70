// Package wire reads DNS questions and writes answers, in two ways each: one by
// hand, for the form that nearly all questions have and without allocating, and
// one by miekg/dns, for any. Where both take a question they give the same bytes,
// which FuzzHandler of package dnsfilter holds.
//
// What it does not do: it decides nothing, keeps nothing, and knows no sockets.
//
//	var q wire.Query
//	if q.ReadFast(pkt, tcp) {
//		reply = q.AppendPacked(reply, pkt, packed, now)
//	}
package wire

// Refusal is how a question that gets no records is answered.
type Refusal struct {
	Rcode int
	SOA   bool   // with an SOA that says how long
	Code  uint16 // the extended error (RFC 8914)
}
